"""MUSDB18 of an experiment, in whatever form: its download, and decoding of compressed songs."""

import typing as tp
from pathlib import Path

from .config import Config
from .data import build as data
from .data import decoded
from .data import download as downloads
from .errors import ConfigError
from .training.distributed import Group

ELSEWHERE = "choose another folder by dset.musdb or the environment variable DEMUCS_MUSDB"


def trained_on(config: Config) -> bool:
    """Whether MUSDB18 in `dset.musdb` is among the training songs."""
    d = config.dset
    return bool(d.kind == "musdb" and d.use_musdb and d.musdb) and not data.replaces_musdb(d.wav, d.sources)


def to_download(config: Config) -> tp.Optional[str]:
    """Dataset that `dset.download` names, a key of `data.download.ARCHIVES`; None for none. Raises ConfigError if the
    training has no use for it."""
    d = config.dset
    name = downloads.chosen(d.download)
    if name is not None and not trained_on(config):
        raise ConfigError(f"dset.download={d.download} downloads {name} into dset.musdb, which is not trained on: "
                          f"dset.musdb={d.musdb} dset.kind={d.kind} dset.use_musdb={d.use_musdb} and {len(d.sources)} "
                          f"sources; leave it out, or choose these settings for MUSDB18")
    return name


def download(config: Config, group: Group, *, needed: tp.Callable[[], bool] = lambda: True) -> None:
    """Download the dataset of `dset.download` into `dset.musdb`, if there is none: on rank 0, while the others wait.
    Rank 0 asks `needed` first, since a finished run needs no songs. A collective call if `dset.download` is set."""
    name = to_download(config)
    if name is not None:
        group.first_then_all(lambda: downloads.fetch_dataset(name, config.dset.musdb, elsewhere=ELSEWHERE)
                             if group.is_first and needed() else None)


def is_compressed(config: Config) -> bool:
    """Whether `dset.musdb` holds compressed MUSDB18 (.stem.mp4), which is decoded before it is trained on."""
    return trained_on(config) and decoded.is_compressed(config.dset.musdb)


def decode(config: Config, group: Group) -> None:
    """Decode compressed training songs that are not decoded yet: on rank 0, while the others wait. A collective call,
    whether there are such songs or not, since a network file system may show new files to some ranks later."""
    d = config.dset
    group.first_then_all(lambda: decoded.decode(d.musdb, d.metadata) if group.is_first and is_compressed(config)
                         else None)


def training_folder(config: Config) -> tp.Union[str, Path]:
    """`dset.musdb`, or the folder of the decoded copies of compressed songs."""
    d = config.dset
    return decoded.folder_of(d.musdb, d.metadata) if is_compressed(config) else d.musdb
