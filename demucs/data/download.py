"""Download of MUSDB18 in its three forms, for `dset.download` and `tools.download_dataset`.

The archive is fetched into ROOT/.download, verified, unpacked there, and its folders are renamed to ROOT/test and
ROOT/train at the end: a dataset without train/ is incomplete, and one with it is whole. An interrupted download
continues where it was. Several processes may ask for the same dataset: one works, the others wait.
"""

import contextlib
import datetime
import logging
import os
import shutil
import typing as tp
from dataclasses import dataclass
from pathlib import Path

from .. import schema
from ..downloads import partial, transfer
from ..downloads.archive import ArchiveError, entries, unpack
from ..downloads.locks import open_locked
from ..downloads.meter import size
from ..errors import ConfigError, DatasetError, describe_os_error, did_you_mean
from ..files import free_bytes
from ..schema import DatasetDownload, SchemaError

logger = logging.getLogger(__name__)

MIRROR = "DEMUCS_DATASET_MIRROR"      # environment variable with a URL that has the archives by their file names
WORK = ".download"                    # folder in the root while the dataset is incomplete
UNPACKED, WHOLE = "unpacked-", "whole-"   # with a name, in it: files of the archive, until they are complete, and then
RECORD = "download.json"              # in the root
SPLITS = ("test", "train")            # in the order of renaming: who finds train/ finds both
STEMS = ".stem.mp4"
FACTOR = 2                            # largest size of an unpacked dataset, relative to the expected one
MOST_FILES = 10_000
ATTEMPTS = 12                         # without progress, within four minutes and more: a download takes hours


@dataclass(frozen=True)
class Archive:
    """An archive on a server.

    Attributes:
        title: of the dataset, for messages.
        url: of the archive.
        length: in bytes.
        checksum: as for `partial.Checksum.parse`.
        unpacked: size of its files in bytes, rounded up.
        compressed: the songs are files with several streams, TRACK.stem.mp4.
    """
    title: str
    url: str
    length: int
    checksum: str
    unpacked: int
    compressed: bool

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def address(self) -> str:
        """`url`, or that on the server which the environment variable DEMUCS_DATASET_MIRROR names."""
        mirror = os.environ.get(MIRROR)
        return f"{mirror.rstrip('/')}/{self.filename}" if mirror else self.url


# Lengths and md5 are those that Zenodo states, the sha256 is that of torchaudio.datasets.MUSDB_HQ.
ARCHIVES = {
    "musdb18-hq": Archive("MUSDB18-HQ", "https://zenodo.org/records/3338373/files/musdb18hq.zip", 22_656_664_047,
                          "sha256:baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d", 32_000_000_000,
                          False),
    "musdb18": Archive("MUSDB18", "https://zenodo.org/records/1117372/files/musdb18.zip", 4_684_228_845,
                       "md5:af06762477334799bfc5abf237648207", 4_800_000_000, True),
    "musdb18-preview": Archive("the 7-second preview of MUSDB18",
                               "https://zenodo.org/records/3270814/files/MUSDB18-7-STEMS.zip", 147_209_385,
                               "md5:dc2bdfac5b46ce742bd60009866758a5", 160_000_000, True),
}
DEFAULT, PREVIEW = "musdb18-hq", "musdb18-preview"      # the first is dset.download=true


def chosen(setting: tp.Union[None, bool, str]) -> tp.Optional[str]:
    """Name in `ARCHIVES` for a value of `dset.download`; None for false or nothing. Raises ConfigError for another
    value."""
    if setting is None or setting is False:
        return None
    if setting is True:
        return DEFAULT
    if setting not in ARCHIVES:
        raise ConfigError(f"dset.download={setting!r} is unknown; use true ({DEFAULT}), false, or one of "
                          f"{', '.join(ARCHIVES)}.{did_you_mean(str(setting), ARCHIVES)}")
    return setting


def is_absent(root: tp.Union[str, Path]) -> bool:
    """Whether a folder has no training songs, and a dataset may be downloaded into it."""
    return not _has_content(Path(root) / "train")


def require_space(name: str, root: tp.Union[str, Path], *, elsewhere: str = transfer.ELSEWHERE) -> None:
    """Raise DatasetError if there is too little free space for the archive and its files, less what is there of
    them."""
    archive, work = ARCHIVES[name], Path(root) / WORK
    if (work / (WHOLE + name)).exists():
        return
    zipped = work / archive.filename
    have = archive.length if (Path(root) / archive.filename).exists() else \
        zipped.stat().st_size if zipped.exists() else partial.partial_bytes(zipped)
    _require_free(archive, Path(root), archive.length - have, archive.unpacked - _bytes_in(work / (UNPACKED + name)),
                  elsewhere)


def fetch_dataset(name: str, root: tp.Union[str, Path], *, elsewhere: str = transfer.ELSEWHERE,
                  **settings: tp.Any) -> bool:
    """Download a dataset into the folder `root`, unless it is there. Returns whether this call did.

    An archive that lies in the root under its published name is used, and kept.

    Args:
        name: key of `ARCHIVES`.
        elsewhere: advice about another folder, for messages.
        settings: `timeout`, `attempts` (by default `ATTEMPTS`) and `pause` of `transfer.fetch`.

    Raises:
        DatasetError: with a remedy, if the archive cannot be fetched or used, if there is too little space, or if the
            root holds another dataset.
        ConfigError: if the address of the mirror is unusable.
    """
    archive, root, settings = ARCHIVES[name], Path(root).absolute(), {"attempts": ATTEMPTS, **settings}
    transfer.check_address(archive.address)
    work = root / WORK
    try:
        while is_absent(root):
            work.mkdir(parents=True, exist_ok=True)
            try:
                lock = open_locked(work / "lock", f"{archive.title} in {root}")
            except FileNotFoundError:      # another process has completed the dataset, and removed the folder
                continue
            with lock or contextlib.nullcontext():
                if is_absent(root):
                    _download(name, root, elsewhere, settings)
                    logger.info("%s is in %s", archive.title, root)
                    return True
                shutil.rmtree(work, ignore_errors=True)
        _require_kind(name, root, elsewhere)
    except (partial.DownloadError, ArchiveError) as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{archive.title} cannot be downloaded into {root}: {describe_os_error(error)}; make the "
                           f"folder writable, or {elsewhere}") from error
    logger.info("%s is in %s already", archive.title, root)
    return False


def _download(name: str, root: Path, elsewhere: str, settings: tp.Mapping[str, tp.Any]) -> None:
    archive, work = ARCHIVES[name], root / WORK
    unpacked, whole = work / (UNPACKED + name), work / (WHOLE + name)
    if not whole.exists():
        if _has_content(root / "test"):
            raise DatasetError(f"{root}: has test/ and no train/; remove test/ before {archive.title} is downloaded, "
                               f"or {elsewhere}")
        require_space(name, root, elsewhere=elsewhere)
        logger.info("Downloading %s into %s. Its songs are for academic use only, see %s", archive.title, root,
                    archive.url.split("/files/")[0])
        zipped, url = _verified_archive(archive, root, elsewhere, settings)
        limits = dict(most_bytes=FACTOR * archive.unpacked, most_files=MOST_FILES)
        needed = sum(entry.size for entry in entries(zipped, **limits)) - _bytes_in(unpacked)
        _require_free(archive, root, 0, needed, elsewhere)
        count = unpack(zipped, unpacked, **limits)
        for split in SPLITS:
            if not _has_content(unpacked / split):
                raise DatasetError(f"{zipped}: has no {split}/, so it is not {archive.title}; remove it")
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        schema.save(DatasetDownload(name, url, archive.checksum, count, now), unpacked / RECORD)
        os.replace(unpacked, whole)
    rest = [path for path in sorted(whole.iterdir()) if path.name not in SPLITS]
    for path in (*rest, *(whole / split for split in SPLITS)):
        if path.exists() and not (path in rest and path.name != RECORD and (root / path.name).exists()):
            os.replace(path, root / path.name)
    shutil.rmtree(work, ignore_errors=True)


def _verified_archive(archive: Archive, root: Path, elsewhere: str, settings: tp.Mapping[str, tp.Any]
                      ) -> tp.Tuple[Path, str]:
    """(the archive with the right checksum, the URL it comes from). One that lies in `root` is preferred, with the URL
    ""."""
    own = root / archive.filename
    kind, digits = partial.Checksum.parse(archive.checksum)
    if own.exists():
        length = own.stat().st_size
        if length != archive.length or partial.checksum_of(own, len(digits), kind) != digits:
            raise DatasetError(f"{own}: is not the published archive of {archive.length} bytes with the {kind} "
                               f"{digits}; remove it, or fetch it again from {archive.address}")
        return own, ""
    try:
        return transfer.fetch(archive.address, root / WORK / archive.filename, checksum=archive.checksum,
                              length=archive.length, elsewhere=elsewhere, **settings), archive.address
    except transfer.Unreachable as error:
        raise DatasetError(f"{archive.title} cannot be fetched from {archive.address} ({error}). Start again to "
                           f"continue where it stopped. Without a network, fetch it by hand and put it there as {own} ({kind} "
                           f"{digits}); another server can be named with the environment variable {MIRROR}") from error


def _require_free(archive: Archive, root: Path, fetched: int, unpacked: int, elsewhere: str) -> None:
    """Raise DatasetError if a file system has less free space than the remaining bytes of the archive and of its
    files."""
    fetched, unpacked = max(0, fetched), max(0, unpacked)
    free = free_bytes(root)
    if free < fetched + unpacked:
        raise DatasetError(f"{root}: has {size(free)} of free space, and {archive.title} needs "
                           f"{size(fetched + unpacked)}: {size(fetched)} for its archive, {size(unpacked)} unpacked; free some space there, or "
                           f"{elsewhere}")


def _require_kind(name: str, root: Path, elsewhere: str) -> None:
    """Raise DatasetError if the songs in `root` are those of another dataset: according to its record, or without one
    by the files of the songs."""
    found = ""
    with contextlib.suppress(SchemaError):
        found = schema.load(DatasetDownload, root / RECORD).dataset
    if not found:
        compressed = any(path.name.endswith(STEMS) for path in (root / "train").iterdir())
        if compressed == ARCHIVES[name].compressed:
            return
        found = f"songs {'' if compressed else 'that are not '}as {STEMS}"
    if found != name:
        raise DatasetError(f"{root}: holds {found}, not {name}; {elsewhere}, or remove what is there")


def _has_content(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries_of:
            return next(entries_of, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
