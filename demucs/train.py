"""Dora's entry point: `dora run [-d] [overrides]` comes here.

Reads the configuration once, builds the parts from plain numbers, and hands them to the solver.
"""

import atexit
import contextlib
import dataclasses
import errno
import functools
import json
import logging
import os
import sys
import typing as tp
from pathlib import Path

import hydra
import torch
from dora import get_xp, is_xp
from dora.conf import update_from_hydra
from dora.hydra import HydraMain, _compare_config
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, Dataset

from . import overrides, scheduling
from .audio import soundstretch
from .config import Config, check_numbers, nearest_key, read
from .console import INTERRUPTED, debugging, fill_streams, hook, one_line, tolerant_logs
from .data import build as data
from .data.augment import Augment
from .data.faults import together
from .data.repitch import RepitchDataset
from .data.sampler import EpochSampler, KeyedDataset
from .data.segments import count_tracks, describe
from .errors import ConfigError, PackageError, SignatureError, TrainingError, exhausted_memory
from .evaluation.inspection import inspect
from .evaluation.tracks import Track, musdb_stem_tracks, track_folders
from .files import atomic
from .grids import _published as published
from .models import zoo
from .packages.weights import differences
from .ranges import RANK, from_environment
from .repositories import repository
from .runs.layout import NEWEST
from .runs.lock import locked
from .runs.status import StatusFile, refused
from .schema import TestSet
from .separation.bag import BagOfModels
from .separation.precision import use_tf32
from .training.best import Selection
from .training.curves import Curves, require_tensorboard
from .training.distributed import PATIENCE, Group, check_launch, join_group, leave_group, lost_peer
from .training.ema import ModelEMA
from .training.interruption import (GRACE, LAUNCHER, Loader, Requests, Stopped, Watchdog, end_with_launcher, ending_workers,
                                    launched_here, prepare_signals, warn_of_little_shared_memory)
from .training.optim import build_optimizer
from .training.quantisation import build as build_quantisation
from .training.records import RunRecorder
from .training.solver import Solver
from .training.stages import TrainStage, ValidStage
from .training.testing import TestStage

logger = logging.getLogger(__name__)

sys.excepthook = hook      # Dora has no guard of its own
fill_streams()
# As this process was started: where the size of the group is missing, Dora makes it one without a word, before it calls us.
RANK_ALONE = None if "WORLD_SIZE" in os.environ else os.environ.get("RANK")


class ExperimentMain(HydraMain):
    """Dora's Hydra entry point with errors that name the key or signature at fault."""

    def __call__(self) -> tp.Any:
        try:
            if "SLURM_PROCID" not in os.environ:       # in a step of Slurm the size follows from the step, a little later
                check_launch(os.environ if RANK_ALONE is None else {"RANK": RANK_ALONE})
        except ConfigError as error:
            raise SystemExit(f"error: {error}") from error
        return super().__call__()

    def get_xp(self, argv: tp.Sequence[str]) -> tp.Any:
        if "RANK" not in os.environ:
            _launch_ranks()
        for argument in argv:
            if "=" not in argument:
                raise SystemExit(f"error: {argument!r} is not an override; write key=value")
        keys = [argument.split("=", 1)[0].strip() for argument in argv]
        groups = tuple(argument for key, argument in zip(keys, argv) if key in self._config_groups)
        with _hydra_errors_in_one_line(groups):
            valid = self._valid_keys(groups)
        for key in keys:
            if key not in valid and not key.startswith(("+", "~")):
                raise SystemExit(f"error: unknown key {key!r}.{nearest_key(key, valid)} "
                                 f"All keys and their values are in conf/.")
            inside = sorted(other for other in valid if other.startswith(f"{key}."))
            if inside and key not in self._config_groups:
                raise SystemExit(f"error: {key} is a section: set one of its values, such as {inside[0]}=...")
        with _hydra_errors_in_one_line(argv):
            return super().get_xp(argv)

    def _get_delta(self, init: tp.Any, other: tp.Any) -> tp.Any:
        """As Dora's, whose comparison keeps the place of a value that cannot be read, and puts the next ones below it."""
        _compare_config.__defaults__[0].clear()
        return super()._get_delta(init, other)

    def init_xp(self, xp: tp.Any) -> tp.Any:
        """As Dora's, but the arguments are never lost: a process that is killed here, or a full disk, leaves them as they
        were. All processes of a run come here at once."""
        path = xp.folder / ".argv.json"
        try:
            if not path.exists() or path.read_text() != json.dumps(xp.argv):
                with atomic(path) as file:
                    file.write(json.dumps(xp.argv).encode())
            elif not os.access(xp.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise SystemExit(f"error: cannot write in {xp.folder}: {error.strerror}. A run keeps its files there: make the "
                             f"folder writable, or free some space, and start again.") from error
        return xp

    def find_argv(self, sig: str) -> tp.Optional[tp.Sequence[str]]:
        """Arguments of an experiment of this folder, else of a published one, else None."""
        try:
            return super().get_argv_from_sig(sig)
        except RuntimeError:
            return published.experiments().get(sig)
        except ValueError as error:
            raise SystemExit(f"error: {self.dora.dir / self.dora.xps / sig / '.argv.json'} is damaged ({error}); "
                             f"delete it, and start the run by its overrides once, which writes it again.") from error

    def get_argv_from_sig(self, sig: str) -> tp.Sequence[str]:
        argv = self.find_argv(sig)
        if argv is None:
            folder = self.dora.dir / self.dora.xps
            own = sorted(path.parent.name for path in folder.glob("*/.argv.json"))
            raise SystemExit(f"error: no experiment {sig!r} in {folder}, and it is no published one."
                             f"{nearest_key(sig, [*own, *published.experiments()])} There are: "
                             f"{', '.join(own) or 'none yet'}; the published ones are in {published.TABLE}.")
        return list(argv)

    def get_slurm_config(self) -> scheduling.SlurmSettings:
        """Of jobs that Dora submits: section `slurm` of the configuration."""
        settings = scheduling.SlurmSettings()
        update_from_hydra(settings, self._base_cfg.slurm)
        with _in_one_line("conf/config.yaml: "):
            check_numbers(vars(settings), "slurm.")
        return settings

    def _main(self) -> tp.Any:
        """As Dora's, with the run folder quoted: it may lie in a folder with spaces or quotes in its name."""
        arguments = []
        if is_xp():
            folder = str(get_xp().folder).replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
            arguments.append(f"hydra.run.dir='{folder}'")
            if _rank():
                arguments.append("hydra.output_subdir=null")
        sys.argv += arguments
        try:
            return hydra.main(config_name=self.config_name, config_path=self.config_path, **self.hydra_kwargs)(
                self.main)()
        finally:
            del sys.argv[len(sys.argv) - len(arguments):]

    def _get_base_config(self, overrides: tp.Sequence[str] = ()) -> tp.Any:
        """Composing takes a second, and depends on the choice of groups only."""
        config, delta = self._composed(tuple(a for a in overrides if a.split("=", 1)[0] in self._config_groups))
        return config, list(delta)

    @functools.lru_cache(maxsize=None)
    def _composed(self, groups: tp.Tuple[str, ...]) -> tp.Any:
        return super()._get_base_config(list(groups))

    @functools.lru_cache(maxsize=None)
    def _valid_keys(self, groups: tp.Tuple[str, ...]) -> tp.FrozenSet[str]:
        """Dotted names of all keys and groups that can be overridden with these group choices."""
        config = OmegaConf.to_container(self._composed(groups)[0], resolve=False)

        def flatten(section: tp.Mapping[str, tp.Any], prefix: str) -> tp.Iterator[str]:
            for key, value in section.items():
                yield prefix + key
                if isinstance(value, dict):
                    yield from flatten(value, f"{prefix}{key}.")
        return frozenset(self._config_groups) | frozenset(flatten(config, ""))


def _launch_ranks() -> None:
    """Before Dora starts ranks as processes of this one, which they end with. Where one of them dies, or at Ctrl-C, Dora
    asks the others to end and leaves them to themselves; this process stays until they have saved and gone."""
    os.environ[LAUNCHER] = str(os.getpid())
    if Path(sys.argv[0]).parts[-2:] == ("dora", "__main__.py") or Path(sys.argv[0]).name == "dora":
        if {"-d", "--ddp"} & set(sys.argv):
            atexit.unregister(_stay_for_ranks)
            atexit.register(_stay_for_ranks)


def _stay_for_ranks() -> None:
    with contextlib.suppress(ChildProcessError, KeyboardInterrupt):
        while True:
            os.wait()


@contextlib.contextmanager
def _in_one_line(where: str = "") -> tp.Iterator[None]:
    """A setting that cannot be ends the program, before there is a run whose status could say so."""
    try:
        yield
    except ConfigError as error:
        raise SystemExit(f"error: {where}{error}") from error


def _rank() -> int:
    with _in_one_line():
        return from_environment("RANK", 0, RANK)


@contextlib.contextmanager
def _hydra_errors_in_one_line(argv: tp.Sequence[str]) -> tp.Iterator[None]:
    """Hydra and OmegaConf have a dozen kinds of errors for what they cannot read in `argv`; all of them end here."""
    try:
        yield
    except Exception as error:
        advice = overrides.explanation(argv)
        if not advice and type(error).__module__.partition(".")[0] not in ("hydra", "omegaconf") \
                and not isinstance(error, (AssertionError, ValueError)):
            raise
        if not advice and any("${" in argument for argument in argv):
            advice = f"{' '.join(str(error).split())}; ${{...}} names another value, or a variable as ${{oc.env:NAME}}: " \
                     f"a plain ${{ is written \\${{"
        text = " ".join(str(error).split())
        if text.startswith("Error merging override"):
            text += ": conf/ has another kind of value there"
        elif text.startswith("Config group override must be"):
            text = f"{' '.join(argv)}: what is chosen is the name of a file in conf/, such as dset=musdb44"
        raise SystemExit(f"error: {advice or text}") from error


def build_model(config: Config) -> nn.Module:
    """The model of an experiment with its seeded initial weights, on the CPU."""
    torch.manual_seed(config.seed)
    return zoo.build(config.model, sources=config.dset.sources, audio_channels=config.dset.channels,
                     samplerate=config.dset.samplerate, segment=config.segment, **config.model_settings)


def dataset_settings(config: Config) -> tp.Dict[str, tp.Any]:
    """The arguments of `data.build.training_sets`."""
    d = config.dset
    return dict(
        musdb=d.musdb, use_musdb=d.use_musdb, wav=d.wav, wav2=d.wav2, wav2_weight=d.wav2_weight,
        wav2_valid=d.wav2_valid, valid_samples=d.valid_samples, sources=d.sources, segment=d.segment, shift=d.shift,
        samplerate=d.samplerate, channels=d.channels, normalize=d.normalize, full_cv=d.full_cv,
        train_valid=d.train_valid, cache_dir=d.metadata)


def build_augment(config: Config, world_size: int) -> Augment:
    """Augmentation of the batches. Raises ConfigError where a rank's part of them cannot be remixed."""
    remix, scale = config.augment.remix, config.augment.scale
    return Augment(seed=config.seed, shift=int(config.dset.samplerate * config.dset.shift),
                   shift_same=config.augment.shift_same, flip=config.augment.flip, scale_proba=scale.proba,
                   scale_min=scale.min, scale_max=scale.max, remix_proba=remix.proba, remix_group=remix.group_size,
                   batch_size=config.batch_size, world_size=world_size)


def build_loaders(config: Config, group: Group) -> tp.Tuple[DataLoader, EpochSampler, DataLoader, tp.Any]:
    """Loaders of training and validation batches of this rank, and the training set for the names of its tracks."""
    d = config.dset
    if config.augment.repitch.proba:
        soundstretch.find()   # before an hour is spent on anything else
    kwargs = dataset_settings(config)
    train_set, valid_set = group.first_then_all(lambda: data.training_sets(**kwargs))
    examples = len(train_set)
    repitch = config.augment.repitch
    keyed: Dataset = KeyedDataset(train_set)
    if repitch.proba:
        keyed = RepitchDataset(train_set, seed=config.seed, proba=repitch.proba, max_pitch=repitch.max_pitch,
                               max_tempo=repitch.max_tempo, tempo_std=repitch.tempo_std,
                               vocals=[i for i, name in enumerate(d.sources) if name == "vocals"],
                               samplerate=d.samplerate)
    sampler = EpochSampler(examples, batch_size=config.batch_size, world_size=group.world_size, rank=group.rank,
                           seed=config.seed, max_batches=1 if config.debug else config.max_batches)
    workers = config.misc.num_workers
    example = 4 * len(d.sources) * d.channels * d.segment * d.samplerate      # bytes
    ready = 2 * workers * config.batch_size / group.world_size                # torch has each of them two batches ahead
    warn_of_little_shared_memory(ready * example, workers)
    common: tp.Dict[str, tp.Any] = {"pin_memory": group.device.type == "cuda"}
    train_loader = Loader(keyed, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0,
                          **common)
    mine = torch.utils.data.Subset(valid_set, range(group.rank, len(valid_set), group.world_size))
    valid_loader = Loader(mine, batch_size=1 if d.full_cv else config.batch_size // group.world_size,
                          num_workers=min(workers, len(mine)), **common)
    logger.info("%d training examples, %d for validation", examples, len(valid_set))
    return train_loader, sampler, valid_loader, train_set


def test_setting(config: Config) -> tp.Tuple[str, str]:
    """(key, value) of the setting that says where the test songs are."""
    d = config.dset
    return data.test_setting(musdb=d.musdb, use_musdb=d.use_musdb, wav=d.wav, nonhq=config.test.nonhq, sources=d.sources)


def recorded_test_set(cfg: tp.Any, config: Config) -> TestSet:
    """Where the test songs are, as it was set: a path that came from a variable is told by the name of the variable."""
    key, value = test_setting(config)
    section, name = key.split(".")
    return TestSet(key, str(OmegaConf.to_container(cfg, resolve=False)[section][name] or value))


def test_tracks(config: Config) -> tp.Sequence[Track]:
    """The songs to test on: the test folder of MUSDB, or that of the dataset it is replaced by, which may have none.
    They are looked for before training, so that a missing one costs no training."""
    d = config.dset
    key, folder = test_setting(config)
    if key == "test.nonhq":
        return musdb_stem_tracks(folder, sources=d.sources)
    if key == "dset.musdb" or folder and os.path.isdir(Path(folder) / "test"):
        return track_folders(folder, sources=d.sources)
    logger.warning("%s has no folder test/, and MUSDB is not used: this run will not be tested", d.wav)
    return []


def inspected_tracks(config: Config, group: Group) -> tp.Sequence[Track]:
    """`test_tracks`, each of which was read to its end by the first rank, now or before. Raises FaultyTracks."""
    def work() -> tp.Sequence[Track]:
        tracks = test_tracks(config)
        if group.is_first:
            inspect(tracks, sources=config.dset.sources, cache_dir=config.dset.metadata)
        return tracks
    return group.first_then_all(work)


def pretrained_model(config: Config) -> nn.Module:
    """The model that continue_pretrained names: in pretrained_repo, or without one in ./release_models or published."""
    found = repository.get_model(config.continue_pretrained or "", config.pretrained_repo)
    if not isinstance(found, BagOfModels):
        return found
    if len(found.models) > 1:
        raise ConfigError(f"continue_pretrained={config.continue_pretrained} is a bag of {len(found.models)} models; "
                          f"give the signature of one of them")
    return found.models[0]


def require_same_architecture(model: nn.Module, pretrained: nn.Module, state: tp.Mapping[str, torch.Tensor],
                              config: Config) -> None:
    """Raises PackageError where the weights `state` of `pretrained` do not fit `model`: what differs, and the settings that
    would be right."""
    faults = differences(model.state_dict(), state)
    if not faults:
        return
    own, other = model.zoo_kwargs, pretrained.zoo_kwargs
    prefixes = {"audio_channels": "dset.channels", "sources": "dset.sources", "samplerate": "dset.samplerate"}
    changed = [f"{prefixes.get(key, f'{config.model}.{key}')}={other[key]!s:.60} instead of {own[key]!s:.60}"
               for key in own if key in other and own[key] != other[key] and key != "segment"]
    if model.zoo_name != pretrained.zoo_name:
        advice = f"it is a {pretrained.zoo_name}: set model={pretrained.zoo_name}"
    else:
        advice = f"it was trained with {', '.join(changed[:5]) or 'settings that are not known'}; set the same"
    raise PackageError(f"continue_pretrained={config.continue_pretrained}: that model has another architecture than "
                       f"model={config.model} with these settings: of its parameters {faults}; {advice}, or name another "
                       f"model")


def build_solver(config: Config, folder: Path, group: Group, *, signature: str = "", name: str = "",
                 argv: tp.Sequence[str] = (), delta: tp.Optional[tp.Mapping[str, tp.Any]] = None,
                 test_set: tp.Optional[TestSet] = None) -> Solver:
    """Everything an experiment needs, with its state restored from `folder` or from what it continues."""
    # What can be refused is refused before anything is scanned.
    if config.misc.tensorboard:
        require_tensorboard()
    parent = folder.parent / (config.continue_from or "") / NEWEST
    if config.continue_from and not config.continue_pretrained and not parent.exists() \
            and not (folder / NEWEST).exists():
        raise SignatureError(f"continue_from={config.continue_from}: there is no {parent}; train that experiment first, "
                             f"or correct the signature")
    if group.device.type == "cuda":
        use_tf32(config.misc.tf32)
    model = build_model(config).to(group.device)
    optim = config.optim
    optimizer = build_optimizer(model, kind=optim.optim, lr=optim.lr, momentum=optim.momentum, beta2=optim.beta2,
                                weight_decay=optim.weight_decay)
    quantisation = build_quantisation(model, config.quant, optimizer, seed=config.seed)
    augment = build_augment(config, group.world_size)
    tracks, loaders = together(lambda: inspected_tracks(config, group), lambda: build_loaders(config, group))
    train_loader, sampler, valid_loader, train_set = loaders
    averages: tp.Dict[str, ModelEMA] = {}
    for kind, decays, device in (("batch", config.ema.batch, group.device), ("epoch", config.ema.epoch, "cpu")):
        for index, decay in enumerate(decays):
            averages[f"ema_{kind}_{index}"] = ModelEMA(model, decay, device=device)
    per_batch = [average for key, average in averages.items() if key.startswith("ema_batch")]
    per_epoch = [average for key, average in averages.items() if key.startswith("ema_epoch")]

    shared: tp.Dict[str, tp.Any] = dict(model=model, group=group, seed=config.seed, loss=optim.loss,
                                        weights=config.weights, prints=config.misc.num_prints,
                                        quantisation=quantisation)
    train = TrainStage(wrapped=group.wrap(model), optimizer=optimizer, loader=train_loader, sampler=sampler,
                       augment=augment, averages=per_batch, svd=config.svd, clip_grad=optim.clip_grad,
                       track_name=functools.partial(describe, train_set), at_once=config.misc.examples_at_once,
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
    solver = Solver(model=model, optimizer=optimizer, train=train, valid=valid, test=test if tracks else None,
                    averages=averages, epoch_averages=per_epoch, selection=Selection(config.test.metric),
                    always_newest=config.dset.train_valid, svd=config.svd, group=group, folder=folder,
                    epochs=config.epochs, test_every=config.test.every, test_best=config.test.best,
                    save_every=config.save_every, publish=recorder.publish, settings=dataclasses.asdict(config),
                    requests=Requests(group, grace=GRACE if launched_here() else None),
                    watchdog=Watchdog(60 * config.misc.patience),
                    status=StatusFile(folder, group, signature=signature, epochs=config.epochs, steps=sampler.steps),
                    curves=Curves(folder, steps=sampler.steps, wanted=config.misc.tensorboard and group.is_first),
                    save_minutes=config.checkpoint.minutes, save_steps=config.checkpoint.steps)
    if solver.restore():
        group.first_then_all(lambda: recorder.resume(solver.history, solver.best_epoch(), solver.best_state))
    elif config.continue_pretrained:
        pretrained = group.first_then_all(lambda: pretrained_model(config))    # which may be fetched
        state = {**(quantisation.bits if quantisation else {}), **pretrained.state_dict()}
        require_same_architecture(model, pretrained, state, config)
        model.load_state_dict(state)
        logger.info("Starting from the weights of %s", config.continue_pretrained)
    elif config.continue_from:
        solver.start_from(folder.parent / config.continue_from / NEWEST, best=config.continue_best,
                          optimizer=config.continue_opt)
    return solver


def be_deterministic() -> None:
    """The same bits from the same run on a GPU of the same kind, at the cost of some speed. On CPUs that is so anyway."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")      # for cuBLAS and the LSTM of cuDNN
    torch.backends.cudnn.benchmark = False
    # Some backward passes have no deterministic form on GPUs; torch names them in a warning.
    torch.use_deterministic_algorithms(True, warn_only=True)


def _more_memory(error: Exception, cfg: tp.Any) -> str:
    """What a message adds where memory ran out: how the same training takes less."""
    kind = exhausted_memory(error)
    if not kind:
        return ""
    now = "empty: all" if cfg.misc.examples_at_once is None else cfg.misc.examples_at_once
    advice = f"; the training is the same one with a smaller misc.examples_at_once (now {now}, " \
             f"for a batch_size of {cfg.batch_size} over all processes)"
    return advice if kind == "GPU memory" else f"{advice}, or fewer misc.num_workers (now {cfg.misc.num_workers})"


def main(cfg: tp.Any) -> None:
    """One experiment from its Hydra configuration, inside Dora."""
    tolerant_logs()
    xp = get_xp()
    with _in_one_line():
        scheduling.prepare_processes()
    prepare_signals()
    end_with_launcher()
    rank = _rank()
    logging.getLogger().setLevel(logging.WARNING if rank else logging.DEBUG if cfg.misc.verbose else logging.INFO)
    expected = os.environ.get("DEMUCS_EXPECTED_SIGNATURE", xp.sig)
    if xp.sig != expected:
        logger.error("these settings are experiment %s, but they were submitted as %s, which other jobs may rely on: the "
                     "configuration that they override has changed since. Submit them again.", xp.sig, expected)
        sys.exit(2)
    try:
        config = read(OmegaConf.to_container(cfg, resolve=True))
        if config.misc.show:
            model = build_model(config)
            logger.info("%s\n%.1f MB", model, sum(p.numel() for p in model.parameters()) * 4 / 2 ** 20)
            return
        if config.misc.deterministic:
            be_deterministic()
        reason = ""
        with contextlib.ExitStack() as stack:
            with Watchdog(PATIENCE.total_seconds()).watching():
                group = join_group()
                logger.info("Experiment %s, in %s", xp.sig, os.path.relpath(xp.folder))
                group.first_then_all(lambda: stack.enter_context(locked(xp.folder)) if group.is_first else None)
                solver = build_solver(config, xp.folder, group, signature=xp.sig, name=main.get_name(xp), argv=xp.argv,
                                      delta=dict(xp.delta or ()), test_set=recorded_test_set(cfg, config))
            try:
                with ending_workers():
                    solver.run()
            except Stopped as stopped:
                logger.info("Stopped by %s: the state is saved, and the run goes on from there when it is started again.",
                            stopped.reason)
                reason = stopped.reason
        leave_group()
        if reason:
            scheduling.put_back(reason)
        if reason == "SIGINT" and group.world_size == 1:     # Dora takes the first of several as a failure of all
            sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        logger.error("interrupted before the training began: nothing is lost")
        sys.exit(INTERRUPTED)
    except Exception as error:
        reason = lost_peer(error) or one_line(error) + _more_memory(error, cfg)
        logger.error("%s", reason, exc_info=error if debugging() else None)
        if rank == 0:
            # A status that cannot be written is another process's, or its environment makes no sense.
            with contextlib.suppress(TrainingError, ConfigError), locked(xp.folder, patience=0):
                refused(xp.folder, xp.sig, reason)
        sys.exit(1)


# Under the same name, by which Dora's helper processes find it.
main = ExperimentMain(main, config_name="config", config_path="../conf", version_base="1.3")

if "_DORA_TEST_PATH" in os.environ:
    main.dora.dir = Path(os.environ["_DORA_TEST_PATH"])

if __name__ == "__main__":
    main()
