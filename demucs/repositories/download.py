"""Download of files: resumable, verified by sha256, and atomic.

A partial download is stored as FILE.part in the same folder and locked while a process writes it, so that other
processes that need the same file wait for the first one. After a broken connection or an interrupted process, the next
request is for the remaining bytes only; servers that do not support this send the whole file again. The sha256 is
computed as the bytes arrive, and only a file with the right checksum is renamed to its final name.
"""

import contextlib
import errno
import hashlib
import http.client
import logging
import os
import re
import sys
import time
import typing as tp
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import tqdm

from .. import __version__
from ..errors import ConfigError, PackageError

try:
    import fcntl
except ImportError:      # not on Windows
    fcntl = None         # type: ignore[assignment]

logger = logging.getLogger(__name__)

TIMEOUT = 20.            # seconds without received data
ATTEMPTS = 5             # consecutive attempts without progress; 2 for a server that never answered
PAUSE = 1.               # seconds before the second attempt, doubled before each further one
PROGRESS = 2 ** 20       # received bytes that count as progress of an attempt
BLOCK = 2 ** 18
HEADERS = {"User-Agent": f"demucs/{__version__}"}
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unreachable(PackageError):
    """Error for a file that cannot be downloaded: the server cannot be reached, or does not have it. The message is a
    short reason."""


class _Broken(Exception):
    """Error of one attempt that may be repeated."""


def answer_of(url: str, *, timeout: float = TIMEOUT) -> tp.Optional[str]:
    """Reason why the server of `url` does not answer within `timeout` seconds, in a few words; None if it answers, with
    any status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS, method="HEAD"), timeout=timeout):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _reason(error)


def checksum_of(path: Path, digits: int) -> str:
    """First `digits` hexadecimal digits of the sha256 of a file. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return _digest(file).hexdigest()[:digits]


def fetch(url: str, path: tp.Union[str, Path], *, checksum: str, timeout: float = TIMEOUT, attempts: int = ATTEMPTS,
          pause: float = PAUSE) -> Path:
    """Download `url` to the file `path`, unless it exists with the right checksum. Returns `path`.

    Args:
        url: http or https.
        path: its folder is created if it does not exist; a file with another checksum is replaced.
        checksum: first hexadecimal digits of the sha256 of the file.
        timeout: seconds without received data after which an attempt fails.
        attempts: maximum number of consecutive attempts without progress.
        pause: seconds before the second attempt; doubled each time, up to half a minute.

    Raises:
        Unreachable: if the server cannot be reached or does not have the file.
        PackageError: if the server sends other content, or the file cannot be written.
        ConfigError: for another kind of URL.
    """
    path = Path(path)
    _check(url)
    if _is_valid(path, checksum):
        return path
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(path) as file:
        if not _is_valid(path, checksum):      # another process may have downloaded it while this one waited
            with _writing(path):
                transfer = _Transfer(url, path, file, timeout)
            transfer.run(checksum, attempts, pause)
            with _writing(path):
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:
                    file.close()      # Windows cannot rename an open file
                os.replace(file.name, path)
    return path


def _check(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{url!r} is no address that files can be fetched from; it must begin with http://SERVER or "
                          f"https://SERVER")


def _is_valid(path: Path, checksum: str) -> bool:
    if not path.is_file():
        return False
    with _writing(path):
        found = checksum_of(path, len(checksum))
    if found != checksum:
        logger.warning("%s is damaged: its checksum is %s instead of %s. It is fetched again", path, found, checksum)
    return found == checksum


@contextlib.contextmanager
def _exclusive(path: Path) -> tp.Iterator[tp.BinaryIO]:
    """Context with the open partial download of `path`, for exclusive use by this process.

    If files cannot be locked (on some parallel file systems), it is a new empty file with a unique name.
    """
    with _writing(path):
        file = _locked(path) or _own(path)
    own = Path(file.name).suffix != ".part"
    with file:
        try:
            yield file
        finally:
            if own or os.fstat(file.fileno()).st_size == 0:      # nothing that another process could resume
                Path(file.name).unlink(missing_ok=True)


def _locked(path: Path) -> tp.Optional[tp.BinaryIO]:
    """The locked file PATH.part; None if files cannot be locked."""
    part = f"{path}.part"
    while fcntl is not None:
        file = open(part, "r+b", buffering=0, opener=lambda name, _: os.open(name, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: another process is fetching it, waiting for that one", path)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            with file:
                if os.fstat(file.fileno()).st_size == 0:
                    os.unlink(part)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
                return file
        file.close()      # the other process has finished the download and renamed the file: open a new one
    return None


def _own(path: Path) -> tp.BinaryIO:
    return open(path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp"), "x+b", buffering=0)


@contextlib.contextmanager
def _writing(path: Path) -> tp.Iterator[None]:
    """Context that turns an OSError into a PackageError with a remedy."""
    try:
        yield
    except OSError as error:
        fix = "free some space there" if error.errno in NO_SPACE else "make its folder writable"
        raise PackageError(f"{path}: cannot be written or read ({error.strerror or error}); {fix}, or choose another "
                           f"folder for downloaded models with the environment variable TORCH_HOME") from error


class _Transfer:
    """Download of one file: `have` of `total` bytes (None: unknown) are in `file` and in the checksum."""

    def __init__(self, url: str, path: Path, file: tp.BinaryIO, timeout: float):
        self.url = url
        self.path = path
        self.timeout = timeout
        self.total: tp.Optional[int] = None
        self.answered = False
        self._file = file
        self._sha = _digest(file)
        self.have = file.tell()

    def run(self, checksum: str, attempts: int, pause: float) -> None:
        """Repeat attempts until the file is complete and has the right checksum."""
        failures = wrong = 0
        with _meter(self) as report:
            while True:
                before = self.have
                try:
                    self._attempt(report)
                    found = self._sha.hexdigest()[:len(checksum)]
                    if found == checksum:
                        return
                    wrong += 1
                    size = self.have
                    self._restart()
                    if wrong == 2:
                        raise PackageError(f"{self.url}: sent {size} bytes with the checksum {found} instead of "
                                           f"{checksum}, twice; this is not the published file. Does the network "
                                           f"need a login?")
                    raise _Broken(f"came with the checksum {found} instead of {checksum}")
                except _Broken as error:
                    failures = 1 if self.have - before >= PROGRESS else failures + 1
                    if failures >= (attempts if self.answered else min(attempts, 2)):
                        raise Unreachable(str(error)) from error
                    wait = min(30., pause * 2 ** (failures - 1))
                    logger.info("%s: %s; trying again in %g s", self.url, error, wait)
                    time.sleep(wait)

    def _attempt(self, report: tp.Callable[[], None]) -> None:
        request = urllib.request.Request(self.url, headers=HEADERS)
        if self.have:
            request.add_header("Range", f"bytes={self.have}-")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                self.answered = True
                self._begin(reply)
                while block := reply.read1(BLOCK):
                    self._append(block)
                    report()
        except urllib.error.HTTPError as error:
            self.answered = True
            self._refused(error)
            return
        except (OSError, http.client.HTTPException) as error:     # URLError and TimeoutError are OSErrors
            raise _Broken(_reason(error)) from error
        if self.total is not None and self.have != self.total:
            raise _Broken(f"the connection was closed after {self.have} of {self.total} bytes")

    def _begin(self, reply: http.client.HTTPResponse) -> None:
        """Prepare for the bytes that the server sends: the requested remainder, or the whole file from the start."""
        if reply.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
            if not match or int(match[1]) != self.have:
                self._restart()
                raise _Broken("the server sent another part than it was asked for")
            self.total = int(match[2]) if match[2] != "*" else None
            return
        if self.have:
            logger.info("%s: cannot be resumed, and comes from the start", self.url)
            self._restart()
        length = reply.headers.get("Content-Length", "")
        self.total = int(length) if length.isdigit() else None

    def _refused(self, error: urllib.error.HTTPError) -> None:
        with error:
            if error.code == 416 and self.have:        # range not satisfiable: the file may be complete already
                if error.headers.get("Content-Range", "") == f"bytes */{self.have}":
                    return
                self._restart()
                raise _Broken("what was here is more than the server has")
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _Broken(f"the server said {error.code} {error.reason}") from error
            raise Unreachable(f"the server said {error.code} {error.reason}") from error

    def _append(self, block: bytes) -> None:
        self._sha.update(block)
        rest = memoryview(block)
        try:
            with _writing(self.path):
                while rest:
                    rest = rest[self._file.write(rest):]
        except PackageError:
            with contextlib.suppress(OSError):         # free the disk space
                self._restart()
            raise
        self.have += len(block)

    def _restart(self) -> None:
        with _writing(self.path):
            self._file.seek(0)
            self._file.truncate()
        self._sha = hashlib.sha256()
        self.have = 0


def _digest(file: tp.BinaryIO) -> "hashlib._Hash":
    sha = hashlib.sha256()
    while block := file.read(BLOCK):
        sha.update(block)
    return sha


def _reason(error: Exception) -> str:
    """Reason for the failure of a connection, in one line."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return " ".join(str(text).split())


@contextlib.contextmanager
def _meter(transfer: _Transfer) -> tp.Iterator[tp.Callable[[], None]]:
    """Context with a progress function to call as bytes arrive: a bar if stderr is a terminal, otherwise a log line at
    every tenth."""
    name = transfer.path.name
    if sys.stderr.isatty():
        with tqdm.tqdm(desc=name, unit="B", unit_scale=True, dynamic_ncols=True) as bar:
            def draw() -> None:
                bar.total, bar.n = transfer.total, transfer.have
                bar.update(0)
            yield draw
            draw()
        return
    logger.info("Fetching %s -> %s", transfer.url, transfer.path)
    last = 0

    def log() -> None:
        nonlocal last
        tenths = 10 * transfer.have // transfer.total if transfer.total else 0
        if tenths > last:
            last = tenths
            logger.info("%s | %3d %% of %.1f MB", name, 10 * tenths, transfer.total / 1e6)
    yield log
