"""Construction of training and validation sets from plain settings: datasets of a kind, and their combinations.

The combinations (two extra datasets, the share of the second, a subset for validation) are those of published Demucs.
Every rank builds the same sets. Rank 0 should call this first, and the others after a barrier, so that they use its
cache.
"""

import functools
import typing as tp
from pathlib import Path

import torch
from torch.utils.data import Dataset

from ..errors import ConfigError, DatasetError, did_you_mean
from ..schema import SOURCES
from . import kinds
from .audio_cache import AudioCache
from .faults import together
from .index import scan, without_collection
from .kinds import file_names
from .mixes import SourceMixes
from .musdb import VALIDATION_TRACKS
from .policies import Balanced, Grid, InterfererMix, Policy, Random, RandomMix, Whole
from .segments import Chosen, Joined, SegmentDataset, Weighted, whole_lengths
from .targets import REST
from .tracks import MIXTURE, Tracks

Sets = tp.Tuple[Dataset, Dataset]
SAMPLINGS = ("grid", "random", "balanced", "random_mix", "interferer_mix")
DATASETS = ("musdb", "wav", "wav2")
MAX_MUSDB_SOURCES = len(SOURCES)   # more sources than MUSDB has exist only in custom datasets
SUBSET_SEED = 42          # fixed, so that the validation subset does not depend on the seed of the experiment


def random_subset(dataset: tp.Any, size: int) -> tp.Any:
    """Subset of `size` examples of `dataset`, drawn without replacement from a fixed seed, in random order; `dataset`
    itself if it has no more."""
    if size >= len(dataset):
        return dataset
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(SUBSET_SEED))
    return Chosen(dataset, order[:size].tolist())


def kind_sets(kind: str, path: tp.Union[str, Path], *, sources: tp.Sequence[str], policy: Policy, samplerate: int,
              channels: int, normalize: bool, full_cv: bool, train_valid: bool = False, cache_dir: tp.Union[str, Path],
              layout: tp.Mapping[str, str] = {}, cache: AudioCache = AudioCache(), seed: int = 0, train_samples: int = 1000,
              valid_draws: int = 100) -> Sets:
    """(train, valid) datasets of the songs in `path`, whose layout is `kind`. Training examples are [S, A, L]; with a
    single source, the rest of the song is a second one. Validation examples are [1 + S, A, L], the mixture first.

    Args:
        kind: a key of `kinds.KINDS`, or MODULE:FUNCTION.
        path: folder of the dataset.
        sources: names of the stems.
        policy: segments of songs that are training examples.
        samplerate, channels: format of the examples.
        normalize: normalise examples by mean and standard deviation of the whole mixture.
        full_cv: validate on whole songs rather than on a grid of segments.
        train_valid: train on the validation songs, too.
        cache_dir: folder for the index of the songs.
        layout: further arguments of `KindSettings`.
        cache: copies of the files.
        seed, train_samples, valid_draws: of the mixtures of a dataset of sounds (`SourceMixes`), and their numbers.

    Raises:
        DatasetError: as `folder_tracks`, or if a set has no track.
        FaultyTracks: as `scan`.
    """
    settings = kinds.KindSettings(Path(path), tuple(sources), **layout)
    with without_collection():
        listed = [kinds.tracks(kind, settings, split) for split in ("train", "valid")]
    splits = [cache.copied(found) for found in listed]
    by_root: tp.Dict[Path, Tracks] = {}              # splits in the same folder share one cache
    for found in splits:
        there = by_root.get(found.root, Tracks(found.root, [], []))
        by_root[found.root] = Tracks(found.root, there.tracks + found.tracks,
                                     list(dict.fromkeys(there.faults + found.faults)))
    indexes = dict(zip(by_root, together(*(
        functools.partial(scan, found, sources=sources, normalize=normalize, cache_dir=cache_dir)
        for found in by_root.values()))))
    indexes = {root: cache.loaded(index) for root, index in indexes.items()}
    train, valid = (indexes[found.root].select({track.name for track in found.tracks}.__contains__) for found in splits)
    form: tp.Dict[str, tp.Any] = dict(samplerate=samplerate, channels=channels, normalize=normalize)
    stems = [*sources, REST] if len(sources) == 1 else sources
    training = [indexes[splits[0].root]] if train_valid and len(indexes) == 1 else [train, valid] if train_valid else [train]
    if not any(map(len, training)) or not len(valid):      # possible if both splits are in one folder
        if kind != "musdb":
            raise DatasetError(f"{splits[0].root}: {sum(map(len, training))} songs to train on and {len(valid)} to validate on; "
                               f"both are needed")
        raise DatasetError(f"{splits[0].root}: {sum(map(len, training))} tracks to train on and {len(valid)} of the official "
                           f"validation tracks (such as {VALIDATION_TRACKS[0]!r}); both are needed, is this a MUSDB18-HQ "
                           f"folder?")
    if kind == file_names.SOURCES:
        draws: tp.Dict[str, tp.Any] = {**form, "segment": policy.segment}
        sets = [SourceMixes(index, sources=sources, count=train_samples if index is not valid else valid_draws, seed=seed, **draws)
                for index in training]
        validation = SourceMixes(valid, sources=[MIXTURE, *sources], count=valid_draws, seed=None, **draws)
    else:
        sets = [SegmentDataset(index, sources=stems, policy=policy, **form) for index in training]
        validation = SegmentDataset(valid, sources=[MIXTURE, *sources], policy=_of_validation(policy, full_cv), **form)
    return sets[0] if len(sets) == 1 else Joined(sets), validation


def _of_validation(policy: Policy, full_cv: bool) -> Policy:
    return Whole() if full_cv or not isinstance(policy, Grid) or policy.segment is None else Grid(policy.segment, policy.shift)


def _joined(first: tp.Optional[Sets], second: tp.Optional[Sets]) -> tp.Optional[Sets]:
    if first is None or second is None:
        return first or second
    return Joined([first[0], second[0]]), Joined([first[1], second[1]])


def _with_share(train: tp.Any, extra: tp.Any, share: tp.Optional[float]) -> tp.Any:
    """Concatenation of `train`, repeated an integer number of times, and `extra`, such that the fraction of `extra` is
    about `share`."""
    repeats = 1 if share is None else max(1, round(len(extra) / len(train) * (1 / share - 1)))
    return Joined([train] * repeats + [extra])


def _with_shares(sets: tp.Mapping[str, tp.Any], shares: tp.Mapping[str, float], seed: int) -> tp.Any:
    """Combination of training sets by name, with these fractions of the examples. Raises ConfigError if the names
    differ."""
    if set(sets) != set(shares):
        raise ConfigError(f"dset.shares names {', '.join(shares)}, and the datasets of this training are {', '.join(sets)}: give "
                          f"the share of each")
    return Weighted([sets[name] for name in sets], [shares[name] for name in sets], seed)


def check_shares(shares: tp.Optional[tp.Mapping[str, tp.Any]]) -> None:
    """Raise ConfigError if `shares` has an unknown dataset, or a share that is not positive."""
    for name, share in (shares or {}).items():
        if name not in DATASETS:
            raise ConfigError(f"dset.shares: there is no dataset {name!r}; use {', '.join(DATASETS)}."
                              f"{did_you_mean(str(name), DATASETS)}")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < float("inf"):
            raise ConfigError(f"dset.shares.{name}={share!r} must be a positive number: the part of {name} in the examples")


def check_sampling(sampling: str) -> None:
    """Check that `sampling` is one of `SAMPLINGS`.

    Raises:
        ConfigError: if it is not.
    """
    if sampling not in SAMPLINGS:
        raise ConfigError(f"dset.sampling={sampling!r} is unknown; use one of {', '.join(SAMPLINGS)}."
                          f"{did_you_mean(sampling, SAMPLINGS)}")


def build_policy(sampling: str, *, segment: tp.Optional[float], shift: tp.Optional[float], seed: int, per_track: int = 64,
                 own: tp.Optional[int] = None) -> Policy:
    """Choice of training examples: for "grid", segments of `segment` seconds that start every `shift` seconds (0 or
    None: `segment`); for "random", equally many segments at random positions, which depend on `seed`; for "balanced",
    `per_track` such segments of each track; for "random_mix", as many mixes of sources from different tracks; for
    "interferer_mix", as many mixes of a source of the track with all others of one other track.

    With the segment None or 0, whole tracks take the place of segments, once per epoch, or `per_track` times. `own` is the
    index of a source that mixes always take from the track of the example; None: none, or for "interferer_mix" the first.
    """
    segment = segment or None
    if sampling in ("random_mix", "interferer_mix"):
        mixed = RandomMix if sampling == "random_mix" else InterfererMix
        more = {} if own is None else {"own": own}
        return mixed(tp.cast(float, segment), tp.cast(float, shift or segment), seed, per_track, **more)
    if segment is None:
        return Whole(per_track=per_track if sampling == "balanced" else 1)
    shift = shift or segment
    if sampling == "balanced":
        return Balanced(segment, shift, seed, per_track)
    return Random(segment, shift, seed) if sampling == "random" else Grid(segment, shift)


def require_one_length(dataset: tp.Any, examples: int, processes: int) -> None:
    """Check that the whole tracks of a training set fit into batches with `examples` per process: that they have one
    length, unless that is one.

    Raises:
        ConfigError: if not.
    """
    lengths = whole_lengths(dataset)
    if examples > 1 and len(lengths) > 1:
        (shortest, first), *_, (longest, second) = sorted(lengths.items())
        raise ConfigError(f"dset.segment=0 trains on whole tracks, and {examples} in a batch per process need one length: {first} "
                          f"has {shortest} samples and {second} {longest}; set batch_size={processes}, one track per process, or "
                          f"give the length of segments in seconds by dset.segment")


def replaces_musdb(wav: tp.Union[str, Path, None], sources: tp.Sequence[str], kind: str = "musdb") -> bool:
    """Whether a custom dataset `wav` replaces MUSDB instead of being added to it: if there are more than the four
    `sources` of MUSDB. False without `wav`, and for another `kind` of dataset than MUSDB."""
    return bool(wav) and len(sources) > MAX_MUSDB_SOURCES and kind == "musdb"


def test_setting(*, musdb: tp.Optional[str], use_musdb: bool, wav: tp.Optional[str], nonhq: tp.Optional[str],
                 sources: tp.Sequence[str], kind: str = "musdb") -> tp.Tuple[str, str]:
    """(key, value) of the setting with the location of the test songs: "test.nonhq" if `nonhq` is set (compressed
    MUSDB18), "dset.musdb", or "dset.wav" if MUSDB is not used or replaced. The value is "" if that setting is empty."""
    if nonhq:
        return "test.nonhq", nonhq
    if use_musdb and not replaces_musdb(wav, sources, kind):
        return "dset.musdb", musdb or ""
    return "dset.wav", wav or ""


def training_sets(*, kind: str = "musdb", musdb: tp.Union[str, Path, None], use_musdb: bool,
                  wav: tp.Union[str, Path, None] = None, wav2: tp.Union[str, Path, None] = None,
                  wav2_weight: tp.Optional[float] = None, wav2_valid: bool = False,
                  valid_samples: tp.Optional[int] = None, sources: tp.Sequence[str],
                  policy: Policy, samplerate: int, channels: int, normalize: bool, full_cv: bool, train_valid: bool,
                  cache_dir: tp.Union[str, Path], missing: str = "error", instruments: str = "", split: str = "",
                  files: str = "", shares: tp.Optional[tp.Mapping[str, float]] = None, seed: int = 0,
                  train_samples: int = 1000, valid_draws: int = 100, cache: AudioCache = AudioCache()) -> Sets:
    """(train, valid) datasets for the settings of section `dset` of the configuration. Examples are [S, A, L] in the
    order of `sources` (with a single source, the rest of the song is a second one); validation examples are [1 + S, A,
    L] and start with the mixture.

    Args:
        kind: layout of the files in `musdb`, a key of `kinds.KINDS`, or MODULE:FUNCTION.
        musdb, use_musdb: folder of MUSDB (or of the dataset of the kind), and whether to train on it.
        wav: custom dataset with folders train/ and valid/, added to `musdb`; replaces MUSDB if there are more than four
            sources.
        wav2: another one, added to these.
        wav2_weight: fraction of `wav2` in the training examples, in (0, 1), approximately; None: each example once.
        wav2_valid: add `wav2` to the validation set, too.
        valid_samples: largest number of validation examples, a random subset; None for all.
        missing, instruments, split, files: as in `KindSettings`; the last three for `musdb` only.
        shares: fractions of musdb, wav and wav2 in the training examples; None: by their sizes.
        seed: of the order of examples with `shares`, and of mixtures of sounds.
        train_samples, valid_draws: numbers of these mixtures.
        all other arguments: as in `kind_sets`.

    Raises ConfigError if no dataset is chosen or a value is impossible, DatasetError as `kind_sets`.
    """
    common: tp.Dict[str, tp.Any] = dict(sources=list(sources), policy=policy, samplerate=samplerate, channels=channels,
                                        normalize=normalize, full_cv=full_cv, cache_dir=cache_dir, cache=cache)
    plain = {"missing": missing}
    if wav2_weight is not None and not 0 < wav2_weight < 1:
        raise ConfigError(f"dset.wav2_weight={wav2_weight} must lie between 0 and 1: the share of dset.wav2")
    if valid_samples is not None and valid_samples < 1:
        raise ConfigError(f"dset.valid_samples={valid_samples} leaves nothing to validate on: at least 1, or null")
    with_musdb = use_musdb and not replaces_musdb(wav, sources, kind)
    if with_musdb and not musdb:
        raise ConfigError("dset.use_musdb=true needs a path: set DEMUCS_MUSDB or dset.musdb")
    if not with_musdb and not wav:
        raise ConfigError("no dataset to train on: dset.use_musdb is false and dset.wav is not set")
    first, second, extra = together(
        lambda: kind_sets(kind, musdb, train_valid=train_valid, **common,
                          layout={**plain, "instruments": instruments, "split": split, "files": files}, seed=seed,
                          train_samples=train_samples, valid_draws=valid_draws) if with_musdb else None,
        lambda: kind_sets("wav", wav, **common, layout=plain) if wav else None,
        lambda: kind_sets("wav", wav2, **common, layout=plain) if wav2 else None)
    train, valid = _joined(first, second)
    if extra:
        train2, valid2 = extra
        train = _with_share(train, train2, wav2_weight)
        if wav2_valid:
            if wav2_weight is not None:
                valid2 = random_subset(valid2, round(wav2_weight * len(valid) / (1 - wav2_weight)))
            valid = Joined([valid, valid2])
    if shares is not None:
        train = _with_shares({name: sets[0] for name, sets in (("musdb", first), ("wav", second), ("wav2", extra)) if sets},
                             shares, seed)
    if valid_samples is not None:
        valid = random_subset(valid, valid_samples)
    return train, valid
