"""Splits of datasets that have none of their own: by a file of names, or by a hash of the name of each song.

The hash depends on nothing but the name, so a song stays in its split whatever is added to the dataset.
"""

import hashlib
import typing as tp
from pathlib import Path

import yaml

from ...errors import ConfigError, DatasetError, did_you_mean
from ..tracks import Tracks

SPLITS = ("train", "valid", "test")
SHARE = 0.1          # of the songs, for validation and for the test, each


def by_hash(name: str) -> str:
    """Split of a song by its name: "test" and "valid" have a tenth each of all possible names."""
    value = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2 ** 64
    return "test" if value < SHARE else "valid" if value < 2 * SHARE else "train"


def read(path: tp.Union[str, Path]) -> tp.Dict[str, tp.List[str]]:
    """Names of the songs for "valid" and "test" from a YAML file; all others are for training.

    Raises:
        ConfigError: if the file cannot be read or is no such map, or names a song twice.
    """
    try:
        plain = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ConfigError(f"dset.split={path}: cannot be read ({reason}); give a YAML file with the lists `valid` and `test`"
                          ) from error
    if not isinstance(plain, dict) or not set(plain) <= {"valid", "test"} or \
            not all(isinstance(names, list) for names in plain.values()):
        raise ConfigError(f"dset.split={path}: must have the lists `valid` and `test`, with names of songs, and nothing else")
    found = {split: [str(name) for name in plain.get(split, [])] for split in ("valid", "test")}
    names = found["valid"] + found["test"]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"dset.split={path}: {twice[0]!r} is named twice; a song is in one split")
    return found


def select(found: Tracks, split: str, path: tp.Optional[tp.Union[str, Path]]) -> Tracks:
    """The songs of a split: by the file `path`, or by `by_hash`.

    Raises:
        ConfigError: as `read`, or if the file names a song that is not in the dataset.
        DatasetError: if no song is left.
    """
    if path:
        named = read(path)
        known = {track.name for track in found.tracks}
        for name in named["valid"] + named["test"]:
            if name not in known and not found.faults:
                raise ConfigError(f"dset.split={path}: there is no song {name!r} in {found.root}.{did_you_mean(name, known)}")
        split_of = {name: split for split, names in named.items() for name in names}
        chosen = found.select(lambda name: split_of.get(name, "train") == split)
    else:
        chosen = found.select(lambda name: by_hash(name) == split)
    if not chosen.tracks and not found.faults:
        by = f"dset.split={path} names" if path else "the hash of their names chooses"
        raise DatasetError(f"{found.root}: {by} none of its {len(found.tracks)} songs for split {split!r}; name some in a file "
                           f"dset.split=FILE.yaml with the lists `valid` and `test`")
    return chosen
