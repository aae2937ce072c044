"""Training and validation sets from plain numbers: MUSDB-HQ folders, folders of one's own, and their combinations.

The combinations (two extra datasets, the share of the second, a subset for validation) are those of published Demucs.
Every rank builds the same sets. Let rank 0 call first, the others after a barrier: they then find its scan cached.
"""

import functools
import typing as tp
from pathlib import Path

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from ..errors import ConfigError, DatasetError
from ..schema import SOURCES
from .faults import together
from .index import MIXTURE, TrackIndex, scan
from .musdb import VALIDATION_TRACKS
from .segments import SegmentDataset

Sets = tp.Tuple[Dataset, Dataset]
MAX_MUSDB_SOURCES = len(SOURCES)   # with more sources than MUSDB has, only the custom datasets can be used
SUBSET_SEED = 42          # fixed, so that the validation subset is the same for every experiment seed


def random_subset(dataset: tp.Any, size: int) -> tp.Any:
    """`size` examples drawn without repetition, always the same ones; the whole where it has no more."""
    if size >= len(dataset):
        return dataset
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(SUBSET_SEED))
    return Subset(dataset, order[:size].tolist())


def _pair(train: TrackIndex, valid: TrackIndex, *, sources: tp.Sequence[str], segment: float,
          shift: tp.Optional[float], samplerate: int, channels: int, normalize: bool, full_cv: bool) -> Sets:
    cut = dict(segment=segment, shift=shift)
    form = dict(samplerate=samplerate, channels=channels, normalize=normalize)
    whole: tp.Dict[str, tp.Any] = {} if full_cv else cut
    return (SegmentDataset(train, sources=sources, **cut, **form),
            SegmentDataset(valid, sources=[MIXTURE, *sources], **whole, **form))


def musdb_sets(path: tp.Union[str, Path], *, sources: tp.Sequence[str], segment: float, shift: tp.Optional[float],
               samplerate: int, channels: int, normalize: bool, full_cv: bool, train_valid: bool,
               cache_dir: tp.Union[str, Path]) -> Sets:
    """(train, valid) of `path`/train, split by the official 14 validation tracks, wherever below it their folders lie.

    `train_valid` trains on the validation tracks too. `full_cv` validates on whole tracks rather than segments. The
    validation set has the mixture as source 0. Raises DatasetError as `scan` does, or where a set has no track.
    """
    root = Path(path) / "train"
    index = scan(root, sources=sources, normalize=normalize, cache_dir=cache_dir)
    valid = index.select(lambda name: Path(name).name in VALIDATION_TRACKS)
    train = index if train_valid else index.select(lambda name: Path(name).name not in VALIDATION_TRACKS)
    if not len(train) or not len(valid):
        raise DatasetError(f"{root}: {len(train)} tracks to train on and {len(valid)} of the official validation "
                           f"tracks (such as {VALIDATION_TRACKS[0]!r}); both are needed, is this a MUSDB18-HQ folder?")
    return _pair(train, valid, sources=sources, segment=segment, shift=shift, samplerate=samplerate,
                 channels=channels, normalize=normalize, full_cv=full_cv)


def wav_sets(path: tp.Union[str, Path], *, sources: tp.Sequence[str], segment: float, shift: tp.Optional[float],
             samplerate: int, channels: int, normalize: bool, full_cv: bool, cache_dir: tp.Union[str, Path]) -> Sets:
    """(train, valid) of the track folders in `path`/train and `path`/valid; the rest as in `musdb_sets`."""
    train, valid = together(*(
        functools.partial(scan, Path(path) / part, sources=sources, normalize=normalize, cache_dir=cache_dir)
        for part in ("train", "valid")))
    return _pair(train, valid, sources=sources, segment=segment, shift=shift, samplerate=samplerate,
                 channels=channels, normalize=normalize, full_cv=full_cv)


def _joined(first: tp.Optional[Sets], second: tp.Optional[Sets]) -> tp.Optional[Sets]:
    if first is None or second is None:
        return first or second
    return ConcatDataset([first[0], second[0]]), ConcatDataset([first[1], second[1]])


def _with_share(train: tp.Any, extra: tp.Any, share: tp.Optional[float]) -> tp.Any:
    """`train` repeated a whole number of times so that `extra` makes up about `share` of the result."""
    repeats = 1 if share is None else max(1, round(len(extra) / len(train) * (1 / share - 1)))
    return ConcatDataset([train] * repeats + [extra])


def replaces_musdb(wav: tp.Union[str, Path, None], sources: tp.Sequence[str]) -> bool:
    """Whether the custom dataset is used instead of MUSDB, which has only four sources, rather than beside it."""
    return bool(wav) and len(sources) > MAX_MUSDB_SOURCES


def test_setting(*, musdb: tp.Optional[str], use_musdb: bool, wav: tp.Optional[str], nonhq: tp.Optional[str],
                 sources: tp.Sequence[str]) -> tp.Tuple[str, str]:
    """(key, value) of the setting that says where the test songs of a training are: those of MUSDB, compressed where
    `nonhq` is set, or those beside the tracks that it is replaced by. The value is "" where no dataset is chosen."""
    if nonhq:
        return "test.nonhq", nonhq
    if use_musdb and not replaces_musdb(wav, sources):
        return "dset.musdb", musdb or ""
    return "dset.wav", wav or ""


def training_sets(*, musdb: tp.Union[str, Path, None], use_musdb: bool, wav: tp.Union[str, Path, None] = None,
                  wav2: tp.Union[str, Path, None] = None, wav2_weight: tp.Optional[float] = None,
                  wav2_valid: bool = False, valid_samples: tp.Optional[int] = None, sources: tp.Sequence[str],
                  segment: float, shift: tp.Optional[float], samplerate: int, channels: int, normalize: bool,
                  full_cv: bool, train_valid: bool, cache_dir: tp.Union[str, Path]) -> Sets:
    """(train, valid) as the settings of `dset` say. Examples are [S, A, L], with the mixture in front for validation.

    `wav` is added to MUSDB, or replaces it where there are more than four sources. `wav2` is added on top:
    `wav2_weight`, in (0, 1), is its share of the examples; `wav2_valid` adds it to validation too.
    `valid_samples` limits the validation set. Raises ConfigError where no dataset is chosen or the share is impossible,
    DatasetError as the two functions above.
    """
    common = dict(sources=list(sources), segment=segment, shift=shift, samplerate=samplerate, channels=channels,
                  normalize=normalize, full_cv=full_cv, cache_dir=cache_dir)
    if wav2_weight is not None and not 0 < wav2_weight < 1:
        raise ConfigError(f"dset.wav2_weight={wav2_weight} must lie between 0 and 1: the share of dset.wav2")
    if valid_samples is not None and valid_samples < 1:
        raise ConfigError(f"dset.valid_samples={valid_samples} leaves nothing to validate on: at least 1, or null")
    with_musdb = use_musdb and not replaces_musdb(wav, sources)
    if with_musdb and not musdb:
        raise ConfigError("dset.use_musdb=true needs a path: set DEMUCS_MUSDB or dset.musdb")
    if not with_musdb and not wav:
        raise ConfigError("no dataset to train on: dset.use_musdb is false and dset.wav is not set")
    first, second, extra = together(
        lambda: musdb_sets(musdb, train_valid=train_valid, **common) if with_musdb else None,
        lambda: wav_sets(wav, **common) if wav else None, lambda: wav_sets(wav2, **common) if wav2 else None)
    train, valid = _joined(first, second)
    if extra:
        train2, valid2 = extra
        train = _with_share(train, train2, wav2_weight)
        if wav2_valid:
            if wav2_weight is not None:
                valid2 = random_subset(valid2, round(wav2_weight * len(valid) / (1 - wav2_weight)))
            valid = ConcatDataset([valid, valid2])
    if valid_samples is not None:
        valid = random_subset(valid, valid_samples)
    return train, valid
