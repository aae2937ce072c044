"""Partial downloads on disk: FILE.part, used by one process at a time, with its checksum, and FILE.part.json with a
record of the bytes that are flushed to disk."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import typing as tp
import uuid
from pathlib import Path

from ..errors import DemucsError
from ..files import write_text
from .locks import open_locked
from .meter import size

logger = logging.getLogger(__name__)

BLOCK = 2 ** 18
INTERVAL = 2 ** 26       # bytes between two records
LARGE = 2 ** 30          # bytes above which the log says that a checksum is computed, which takes seconds
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DownloadError(DemucsError):
    """A server sends other content than the published file, or a file cannot be written."""


class Checksum(tp.NamedTuple):
    """Kind of hash ("sha256" or "md5"), and its first hexadecimal digits."""
    kind: str
    digits: str

    @classmethod
    def parse(cls, text: str) -> "Checksum":
        """Checksum from "md5:DIGITS", "sha256:DIGITS", or the digits of a sha256 alone."""
        kind, _, digits = text.rpartition(":")
        return cls(kind or "sha256", digits)


class Writing:
    """Context that turns an OSError about `path` into a DownloadError with a remedy; `elsewhere` is the advice about
    another folder. It may be nested."""

    def __init__(self, path: Path, elsewhere: str):
        self.path = path
        self.elsewhere = elsewhere

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: tp.Any, error: tp.Optional[BaseException], trace: tp.Any) -> None:
        if isinstance(error, OSError):
            fix = "free some space there" if error.errno in NO_SPACE else "make its folder writable"
            raise DownloadError(f"{self.path}: cannot be written or read ({error.strerror or error}); {fix}, or "
                                f"{self.elsewhere}") from error


def checksum_of(path: Path, digits: int, kind: str = "sha256") -> str:
    """First `digits` hexadecimal digits of the hash of a file. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > LARGE:
            logger.info("Computing the checksum of %s (%s)", path, size(os.fstat(file.fileno()).st_size))
        return _digest(file, kind).hexdigest()[:digits]


def partial_bytes(path: tp.Union[str, Path]) -> int:
    """Size of the partial download of `path`."""
    try:
        return os.stat(f"{path}.part").st_size
    except OSError:
        return 0


@contextlib.contextmanager
def exclusive(path: Path, writing: Writing) -> tp.Iterator[tp.BinaryIO]:
    """Context with the open partial download of `path`, for exclusive use by this process.

    If files cannot be locked (on some parallel file systems), it is a new empty file with a unique name.
    """
    with writing:
        file = open_locked(f"{path}.part", str(path)) or _own(path)
    own = Path(file.name).suffix != ".part"
    with file:
        try:
            yield file
        finally:
            if own or os.fstat(file.fileno()).st_size == 0:      # nothing that another process could resume
                Path(file.name).unlink(missing_ok=True)
            if not Path(file.name).exists():
                _record(file).unlink(missing_ok=True)


def _own(path: Path) -> tp.BinaryIO:
    return open(path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp"), "x+b", buffering=0)


def _record(file: tp.BinaryIO) -> Path:
    return Path(f"{file.name}.json")


class Partial:
    """The first `have` bytes of a file that is downloaded to `writing.path`, and their hash.

    Args:
        file: opened by `exclusive`. The bytes of an earlier process are taken over, up to the last ones that its record
            confirms, or all if there is no record.
        kind: of the hash.
        most: length of the whole file, if it is known.
    """

    def __init__(self, file: tp.BinaryIO, kind: str, writing: Writing, most: tp.Optional[int]):
        self._file = file
        self._kind = kind
        self._writing = writing
        self._sha = hashlib.new(kind)
        self._recorded = 0
        self.have = 0
        with writing:
            self._take_over()
        if most is not None and self.have > most:
            self.restart()

    def _take_over(self) -> None:
        present = os.fstat(self._file.fileno()).st_size
        if present > LARGE:
            logger.info("%s: %s are here; checking them", self._writing.path, size(present))
        confirmed, digest = self._confirmed()
        if not digest:
            self._sha = _digest(self._file, self._kind)
        else:
            self._sha = _digest(self._file, self._kind, confirmed)
            if present < confirmed or self._sha.hexdigest() != digest:
                logger.warning("%s: the part that is here is damaged, and is fetched again", self._writing.path)
                self.restart()
            else:
                self._file.truncate(confirmed)
                self._recorded = confirmed
        self.have = self._file.tell()

    def _confirmed(self) -> tp.Tuple[int, str]:
        """(bytes, their hash) according to the record; (0, "") without one."""
        try:
            record = json.loads(_record(self._file).read_bytes())
            return max(0, int(record["bytes"])), str(record[self._kind])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return 0, ""

    def digits(self, count: int) -> str:
        """First hexadecimal digits of the hash of the bytes that are here."""
        return self._sha.hexdigest()[:count]

    def append(self, block: bytes) -> None:
        """Add bytes. Raises DownloadError, and frees the disk space, if they cannot be written."""
        self._sha.update(block)
        rest = memoryview(block)
        try:
            with self._writing:
                while rest:
                    rest = rest[self._file.write(rest):]
                self.have += len(block)
                if self.have - self._recorded >= INTERVAL:
                    os.fsync(self._file.fileno())
                    write_text(_record(self._file), json.dumps({"bytes": self.have, self._kind: self._sha.hexdigest()}))
                    self._recorded = self.have
        except DownloadError:
            with contextlib.suppress(OSError, DownloadError):
                self.restart()
            raise

    def restart(self) -> None:
        """Drop all bytes."""
        with self._writing:
            _record(self._file).unlink(missing_ok=True)
            self._file.seek(0)
            self._file.truncate()
        self._sha = hashlib.new(self._kind)
        self.have = self._recorded = 0


def _digest(file: tp.BinaryIO, kind: str, most: tp.Optional[int] = None) -> "hashlib._Hash":
    """Hash of a file from its position on, or of `most` bytes."""
    sha = hashlib.new(kind)
    while block := file.read(BLOCK if most is None else min(BLOCK, most)):
        sha.update(block)
        most = None if most is None else most - len(block)
    return sha
