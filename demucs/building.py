"""Construction of the parts of an experiment from its configuration."""

import dataclasses
import logging
import os
import typing as tp
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from . import songs
from .audio import soundstretch
from .config import Config
from .data import build as data
from .data.audio_cache import AudioCache
from .data.augment import Augment
from .data.faults import together
from .data.kinds import file_names
from .data.repitch import RepitchDataset, trimmed_length
from .data.sampler import EpochSampler
from .data.segments import Chosen, count_tracks, whole_lengths
from .data.targets import Targets
from .errors import ConfigError, PackageError, SignatureError, did_you_mean
from .evaluation import test_sets
from .evaluation.inspection import inspect
from .evaluation.tracks import ReferenceTrack, kind_tracks, musdb_stem_tracks, track_folders
from .models import zoo
from .models.openunmix import OpenUnmixSeparator
from .models.protocol import set_checkpointing
from .packages.weights import differences
from .repositories import repository
from .runs.layout import NEWEST
from .runs.status import StatusFile, last_said
from .schema import EpochRecord, TestSet
from .separation.bag import BagOfModels
from .separation.precision import use_tf32
from .training import restoring
from .training.batches import BatchLoader
from .training.accumulation import require_whole_batches
from .training.best import Selection
from .training.curves import Curves, require_tensorboard
from .training.distributed import Group
from .training.ema import ModelEMA
from .training.input_statistics import set_input_statistics
from .training.interruption import GRACE, Requests, Watchdog, launched_here
from .training.objectives import build_objective
from .training.optim import build_optimizer
from .training.precision import Precision
from .training.quantisation import build as build_quantisation
from .training.records import RunRecorder
from .training.saving import Plan
from .training.schedules import build_schedule
from .training.solver import Solver
from .training.stages import TrainStage
from .training.testing import TestStage
from .training.validation import ValidStage
from .training.workers import Loader, warn_of_little_shared_memory

logger = logging.getLogger(__name__)


def build_model(config: Config) -> nn.Module:
    """New model of an experiment on the CPU, with initial weights from its seed. Seeds torch's global random
    generator."""
    torch.manual_seed(config.seed)
    return zoo.build(config.model, sources=config.target_names, audio_channels=config.dset.channels,
                     samplerate=config.dset.samplerate, segment=config.segment, **config.model_settings)


def dataset_settings(config: Config) -> tp.Dict[str, tp.Any]:
    """Keyword arguments of `data.build.training_sets`, from the configuration."""
    d = config.dset
    return dict(
        kind=d.kind, musdb=songs.training_folder(config), use_musdb=d.use_musdb, wav=d.wav, wav2=d.wav2,
        wav2_weight=d.wav2_weight, wav2_valid=d.wav2_valid, valid_samples=d.valid_samples, sources=d.sources,
        policy=data.build_policy(d.sampling, segment=d.segment, shift=d.shift, seed=config.seed,
                                 per_track=d.samples_per_track, own=own_source(config)),
        files=d.files.text(), train_samples=d.train_samples, valid_draws=d.valid_draws,
        cache=AudioCache(d.cache, Path(d.cache_folder or Path(d.metadata) / "audio"), d.samplerate), missing=d.missing,
        instruments=d.instruments or "", split=d.split or "", shares=d.shares, seed=config.seed,
        samplerate=d.samplerate, channels=d.channels, normalize=d.normalize, full_cv=d.full_cv,
        train_valid=d.train_valid, cache_dir=d.metadata)


def own_source(config: Config) -> tp.Optional[int]:
    """Index of the source that mixes of several tracks take from the track of the example, which is the target of
    `dset.files`; None for datasets without it."""
    d = config.dset
    named = file_names.sources(d.kind, d.files) if d.use_musdb else []
    return d.sources.index(named[0]) if named else None


def build_augment(config: Config, world_size: int) -> Augment:
    """Augmentation of the batches of one of `world_size` ranks. Raises ConfigError if the part of a rank cannot be
    divided into groups for remixing."""
    remix, scale = config.augment.remix, config.augment.scale
    return Augment(seed=config.seed, shift=int(config.dset.samplerate * config.dset.shift),
                   shift_same=config.augment.shift_same, flip=config.augment.flip, sign=config.augment.sign,
                   same=config.augment.same,
                   scale_proba=scale.proba, scale_min=scale.min, scale_max=scale.max, remix_proba=remix.proba,
                   remix_group=remix.group_size, batch_size=config.batch_size, world_size=world_size)


def build_loaders(config: Config, group: Group
                  ) -> tp.Tuple[tp.Union[Loader, BatchLoader], EpochSampler, DataLoader, tp.Any]:
    """(training loader, its sampler, validation loader, training set) of this rank. Songs are listed and measured by
    rank 0 first. A collective call; it raises the errors of `data.build.training_sets` and `EpochSampler`, and
    ToolError if soundstretch is needed and missing."""
    d = config.dset
    if config.augment.repitch.proba:
        soundstretch.find()   # raises if it is missing, before a scan that may take long
    songs.decode(config, group)
    kwargs = dataset_settings(config)
    train_set, valid_set = group.first_then_all(lambda: data.training_sets(**kwargs))
    examples = len(train_set)
    if not d.segment:
        data.require_one_length(train_set, config.batch_size // group.world_size, group.world_size)
    repitch = config.augment.repitch
    keyed: Dataset = train_set
    if repitch.proba:
        keyed = RepitchDataset(train_set, seed=config.seed, proba=repitch.proba, max_pitch=repitch.max_pitch,
                               max_tempo=repitch.max_tempo, tempo_std=repitch.tempo_std,
                               vocals=[i for i, name in enumerate(d.sources) if name == "vocals"],
                               samplerate=d.samplerate)
    sampler = EpochSampler(examples, batch_size=config.batch_size, world_size=group.world_size, rank=group.rank,
                           seed=config.seed, max_batches=1 if config.debug else config.max_batches)
    workers = config.misc.num_workers
    samples = d.segment * d.samplerate or max(whole_lengths(train_set))
    stems = len(d.sources) + (len(d.sources) == 1)                            # a single source comes with the rest
    example = 4 * stems * d.channels * samples                                # bytes
    ready = 2 * workers * config.batch_size / group.world_size                # torch prefetches two batches per worker
    warn_of_little_shared_memory(ready * example, workers)
    common: tp.Dict[str, tp.Any] = {"pin_memory": group.device.type == "cuda"}
    seconds = int(d.segment * d.samplerate)
    shape = stems, d.channels, trimmed_length(seconds, repitch.max_tempo) if repitch.proba else seconds
    train_loader = BatchLoader(keyed, sampler, example=shape, batch_size=sampler.per_rank, workers=workers,
                               device=group.device) if workers and d.segment else \
        Loader(keyed, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0, **common)
    mine = Chosen(valid_set, range(group.rank, len(valid_set), group.world_size))
    valid_loader = Loader(mine, batch_size=1 if d.full_cv or not d.segment else config.batch_size // group.world_size,
                          num_workers=min(workers, len(mine)), **common)
    logger.info("%d training examples, %d for validation", examples, len(valid_set))
    return train_loader, sampler, valid_loader, train_set


def test_set(config: Config) -> TestSet:
    """Location of the test songs, with paths from environment variables resolved."""
    d = config.dset
    key, folder = data.test_setting(musdb=d.musdb, use_musdb=d.use_musdb, wav=d.wav, nonhq=config.test.nonhq,
                                    sources=d.sources, kind=d.kind)
    kind = d.kind if key == "dset.musdb" and d.kind not in test_sets.FOLDERS else ""
    layout = {"missing": d.missing if d.missing != "error" else ""}
    if kind:
        layout.update(instruments=d.instruments or "", split=d.split or "", files=d.files.text())
    return TestSet(key, folder, d.targets, d.sources if d.targets or kind or any(layout.values()) else None, kind,
                   {name: value for name, value in layout.items() if value})


def test_tracks(config: Config) -> tp.Sequence[ReferenceTrack]:
    """Test songs of a training: those of MUSDB, or of the dataset that replaces it; an empty list, with a warning, if
    that has none. They are listed before training, so that missing ones are found before it. Raises the errors of
    `evaluation.tracks.track_folders` and `kind_tracks`."""
    d, own = config.dset, test_set(config)
    if own.key == "test.nonhq" or own.key == "dset.musdb" and songs.is_compressed(config):
        return musdb_stem_tracks(own.folder, sources=config.target_names, targets=d.targets)
    if own.key == "dset.musdb" or own.folder and os.path.isdir(Path(own.folder) / "test"):
        if own.kind or own.layout:
            return kind_tracks(own.folder, kind=own.kind or "wav", layout=own.layout, sources=config.target_names,
                               targets=d.targets, stems=d.sources)
        return track_folders(own.folder, sources=config.target_names, targets=d.targets, stems=d.sources)
    logger.warning("%s has no folder test/, and MUSDB is not used: this run will not be tested", d.wav)
    return []


def inspected_tracks(config: Config, group: Group) -> tp.Sequence[ReferenceTrack]:
    """Test songs as `test_tracks` lists them, after rank 0 has checked that each can be read to its end, now or in an
    earlier run. A collective call. Raises FaultyTracks on all ranks if one cannot."""
    def work() -> tp.Sequence[ReferenceTrack]:
        tracks = test_tracks(config)
        if group.is_first:
            inspect(tracks, sources=config.target_names, cache_dir=config.dset.metadata)
        return tracks
    return group.first_then_all(work)


def pretrained_model(config: Config) -> nn.Module:
    """The single model named by `continue_pretrained`, also as a bag of one: from the folder `pretrained_repo`, or
    without it from ./release_models or the published models. Of a separator of Open-Unmix it is the network of the
    target, for `model=openunmix`.

    Raises:
        ConfigError: for a bag of several models, or a separator without a network of the target.
        ModelLoadingError: as `repository.get_model`.
    """
    found = repository.get_model(config.continue_pretrained or "", config.pretrained_repo)
    if isinstance(found, BagOfModels):
        if len(found.models) > 1:
            raise ConfigError(f"continue_pretrained={config.continue_pretrained} is a bag of {len(found.models)} models; "
                              f"give the signature of one of them")
        found = found.models[0]
    if config.model == "openunmix" and isinstance(found, OpenUnmixSeparator):
        return _network(found, config)
    return found


def _network(separator: OpenUnmixSeparator, config: Config) -> nn.Module:
    """The network of the target of `config` in a separator, as a model of its own. Raises ConfigError if there is
    none."""
    target, = config.target_names
    if target not in separator.targets:
        raise ConfigError(f"continue_pretrained={config.continue_pretrained} has no network of {target!r}; it has "
                          f"{', '.join(separator.targets)}.{did_you_mean(target, separator.targets)}")
    settings = {key: value for key, value in separator.zoo_kwargs.items() if key in zoo.MODELS[config.model].settings}
    network = zoo.build(config.model, **{**settings, "sources": [target]})
    network.load_state_dict(separator.target_models[target].state_dict())
    return network


def require_same_architecture(model: nn.Module, pretrained: nn.Module, state: tp.Mapping[str, torch.Tensor],
                              config: Config) -> None:
    """Check that the weights `state`, those of the model `pretrained`, fit `model`. `config` is the configuration of
    `model`.

    Raises:
        PackageError: if they do not. The message names the differences and the settings that would fit.
    """
    faults = differences(model.state_dict(), state)
    if not faults:
        return
    own, other = model.zoo_kwargs, pretrained.zoo_kwargs
    prefixes = {"audio_channels": "dset.channels", "sources": "dset.targets" if config.dset.targets else "dset.sources",
                "samplerate": "dset.samplerate"}
    changed = [f"{prefixes.get(key, f'{config.model}.{key}')}={other[key]!s:.60} instead of {own[key]!s:.60}"
               for key in own if key in other and own[key] != other[key] and key != "segment"]
    if model.zoo_name != pretrained.zoo_name:
        advice = f"it is a {pretrained.zoo_name}: set model={pretrained.zoo_name}"
    else:
        advice = f"it was trained with {', '.join(changed[:5]) or 'settings that are not known'}; set the same"
    raise PackageError(f"continue_pretrained={config.continue_pretrained}: that model has another architecture than "
                       f"model={config.model} with these settings: of its parameters {faults}; {advice}, or name another "
                       f"model")


def build_averages(config: Config, model: nn.Module, group: Group) -> tp.Dict[str, ModelEMA]:
    """New exponential moving averages of the weights of `model` by name, "ema_batch_0", "ema_epoch_0", ... Those over
    batches are on the device of the group, those over epochs on the CPU."""
    averages = {}
    for kind, decays, device in (("batch", config.ema.batch, group.device), ("epoch", config.ema.epoch, "cpu")):
        for index, decay in enumerate(decays):
            averages[f"ema_{kind}_{index}"] = ModelEMA(model, decay, device=device)
    return averages


def _of_kind(averages: tp.Mapping[str, ModelEMA], kind: str) -> tp.List[ModelEMA]:
    return [average for name, average in averages.items() if name.startswith(f"ema_{kind}")]


def finished(config: Config, folder: Path) -> tp.Optional[tp.List[EpochRecord]]:
    """History of the run in `folder` if it is finished, else None; see `training.restoring.finished`."""
    return restoring.finished(folder, Selection(config.test.metric), epochs=config.epochs,
                              patience=config.early_stopping)


def draw_finished(history: tp.Sequence[EpochRecord], folder: Path) -> None:
    """Write the TensorBoard curves of the finished run in `folder` from its `history`, unless it has curves, without
    loading its model or songs."""
    status = last_said(folder)
    curves = Curves(folder, steps=max(status.steps if status else 1, 1), wanted=True)
    curves.draw(history)
    curves.close()


def build_solver(config: Config, folder: Path, group: Group, *, signature: str = "", name: str = "",
                 argv: tp.Sequence[str] = (), delta: tp.Optional[tp.Mapping[str, tp.Any]] = None,
                 test_set: tp.Optional[TestSet] = None, requests: tp.Optional[Requests] = None) -> Solver:
    """Solver of an experiment, ready to run: with its state restored from `folder`, or if that has no checkpoint,
    initialised from the experiment or model that it continues, or else with random weights. A collective call.

    Args:
        config: of the experiment.
        folder: of the run.
        group: the ranks.
        signature, name, argv, delta, test_set: for the records, see `training.records.RunRecorder`.
        requests: to stop and to save; None: those of signals.

    Raises:
        DemucsError: if settings, songs, checkpoint or weights are not usable.
    """
    # Settings are checked before datasets are scanned.
    if config.misc.tensorboard:
        require_tensorboard()
    parent = folder.parent / (config.continue_from or "") / NEWEST
    if config.continue_from and not config.continue_pretrained and not parent.exists() \
            and not (folder / NEWEST).exists():
        raise SignatureError(f"continue_from={config.continue_from}: there is no {parent}; train that experiment first, "
                             f"or correct the signature")
    if group.device.type == "cuda":
        use_tf32(config.misc.tf32)
    precision = Precision(config.optim.precision, group.device)
    model = build_model(config).to(group.device)
    require_whole_batches(model, at_once=config.misc.examples_at_once,
                          examples=config.batch_size // group.world_size)
    set_checkpointing(model, config.misc.checkpoint_activations)
    optim = config.optim
    optimizer = build_optimizer(model, kind=optim.optim, lr=optim.lr, momentum=optim.momentum, beta2=optim.beta2,
                                weight_decay=optim.weight_decay)
    quantisation = build_quantisation(model, config.quant, optimizer, seed=config.seed)
    augment = build_augment(config, group.world_size)
    songs.download(config, group, needed=lambda: finished(config, folder) is None)
    tracks, loaders = together(lambda: inspected_tracks(config, group), lambda: build_loaders(config, group))
    train_loader, sampler, valid_loader, train_set = loaders
    if not (config.debug or config.continue_from or config.continue_pretrained or restoring.begun(folder, group)):
        set_input_statistics(model, train_set, group=group, cache_dir=config.dset.metadata)
    averages = build_averages(config, model, group)
    schedule = build_schedule(config.schedule, optimizer, config.epochs)
    targets = Targets(config.dset.sources, config.dset.targets)
    objective = build_objective(optim.loss, model, targets=targets.names, weights=config.target_weights)
    shared: tp.Dict[str, tp.Any] = dict(model=model, group=group, seed=config.seed, objective=objective, targets=targets,
                                        prints=config.misc.num_prints, quantisation=quantisation)
    train = TrainStage(wrapped=group.wrap(model), optimizer=optimizer, loader=train_loader, sampler=sampler,
                       augment=augment, averages=_of_kind(averages, "batch"), svd=config.svd, clip_grad=optim.clip_grad,
                       track_name=train_set.describe, at_once=config.misc.examples_at_once, precision=precision,
                       **shared)
    valid = ValidStage(loader=valid_loader, apply=config.valid_apply, split=config.test.split,
                       max_batches=config.max_batches, **shared)
    test = TestStage(model=model, tracks=tracks, group=group, seed=config.seed, shifts=config.test.shifts,
                     overlap=config.test.overlap, split=config.test.split, sdr=config.test.sdr,
                     save_to=folder / "wav" if config.test.save else None, quantisation=quantisation)
    recorder = RunRecorder(model, folder=folder, group=group, signature=signature, name=name, argv=argv,
                           epochs=config.epochs, batch_size=config.batch_size, seed=config.seed,
                           train_tracks=count_tracks(train_set), valid_tracks=count_tracks(valid_loader.dataset.dataset),
                           continued_from=config.continue_from, delta=delta, quantisation=quantisation,
                           tf32=config.misc.tf32, test_set=test_set)
    plan = Plan(epochs=config.epochs, patience=config.early_stopping, test_every=config.test.every,
                test_best=config.test.best, save_every=config.save_every, save_minutes=config.checkpoint.minutes,
                save_steps=config.checkpoint.steps)
    solver = Solver(model=model, optimizer=optimizer, train=train, valid=valid, test=test if tracks else None,
                    averages=averages, epoch_averages=_of_kind(averages, "epoch"),
                    schedule=schedule,
                    selection=Selection(config.test.metric), always_newest=config.dset.train_valid, svd=config.svd,
                    group=group, folder=folder, plan=plan, publish=recorder.publish, settings=dataclasses.asdict(config),
                    requests=requests or Requests(group, grace=GRACE if launched_here() else None),
                    watchdog=Watchdog(60 * config.misc.patience),
                    status=StatusFile(folder, group, signature=signature, epochs=config.epochs, steps=sampler.steps),
                    curves=Curves(folder, steps=sampler.steps, wanted=config.misc.tensorboard and group.is_first))
    if solver.restore():
        group.first_then_all(lambda: recorder.resume(solver.history, solver.best_epoch(), solver.best_state))
    elif config.continue_pretrained:
        pretrained = group.first_then_all(lambda: pretrained_model(config))    # may be downloaded
        state = {**(quantisation.bits if quantisation else {}), **pretrained.state_dict()}
        require_same_architecture(model, pretrained, state, config)
        model.load_state_dict(state)
        logger.info("Starting from the weights of %s", config.continue_pretrained)
    elif config.continue_from:
        recorder.continues(restoring.start_from(folder.parent / config.continue_from / NEWEST, model, solver.registry, group,
                                                best=config.continue_best, optimizer=config.continue_opt))
        if schedule is not None:
            schedule.begin()
    return solver
