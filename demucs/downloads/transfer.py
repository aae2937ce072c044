"""Transfer of a file by HTTP: resumable, verified by its checksum, and atomic.

A partial download is stored as FILE.part in the same folder and locked while a process writes it, so that other
processes that need the same file wait for the first one. After a broken connection or an interrupted process, the next
request is for the remaining bytes only; servers that do not support this send the whole file again. The checksum is
computed as the bytes arrive, and only a file with the right checksum is renamed to its final name.

Large files are flushed to disk at intervals, and FILE.part.json records how many bytes that are, and their checksum. A
partial download is continued behind the bytes that agree with this record, so a computer that loses its power costs an
interval, and not the whole file.
"""

import http.client
import logging
import os
import re
import time
import typing as tp
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .. import __version__
from ..errors import ConfigError
from .locks import fcntl
from .meter import Report, meter
from .partial import BLOCK, Checksum, DownloadError, Partial, Writing, checksum_of, exclusive

logger = logging.getLogger(__name__)

TIMEOUT = 20.            # seconds without received data
ATTEMPTS = 5             # consecutive attempts without progress; 2 for a server that never answered
PAUSE = 1.               # seconds before the second attempt, doubled before each further one
PROGRESS = 2 ** 20       # received bytes that count as progress of an attempt
HEADERS = {"User-Agent": f"demucs/{__version__}"}
ELSEWHERE = "choose another folder"
PUBLISHED = "this is not the published file. Does the network need a login?"


class Unreachable(DownloadError):
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


def fetch(url: str, path: tp.Union[str, Path], *, checksum: str, length: tp.Optional[int] = None,
          elsewhere: str = ELSEWHERE, timeout: float = TIMEOUT, attempts: int = ATTEMPTS, pause: float = PAUSE) -> Path:
    """Download `url` to the file `path`, unless it exists with the right checksum. Returns `path`.

    Args:
        url: http or https.
        path: its folder is created if it does not exist; a file with another checksum is replaced.
        checksum: as for `Checksum.parse`.
        length: of the file in bytes, if it is known: a server that announces another one is refused before it sends the
            file.
        elsewhere: advice for users if the file cannot be written.
        timeout: seconds without received data after which an attempt fails.
        attempts: maximum number of consecutive attempts without progress.
        pause: seconds before the second attempt; doubled each time, up to half a minute.

    Raises:
        Unreachable: if the server cannot be reached or does not have the file.
        DownloadError: if the server sends other content, or the file cannot be written.
        ConfigError: for another kind of URL.
    """
    path, wanted = Path(path), Checksum.parse(checksum)
    check_address(url)
    writing = Writing(path, elsewhere)
    if _is_valid(path, wanted, writing):
        return path
    with writing:
        path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path, writing) as file:
        if not _is_valid(path, wanted, writing):      # another process may have downloaded it while this one waited
            part = Partial(file, wanted.kind, writing, length)
            _Transfer(url, path, part, wanted, length, timeout).run(attempts, pause)
            with writing:
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:
                    file.close()      # Windows cannot rename an open file
                os.replace(file.name, path)
    return path


def check_address(url: str) -> None:
    """Raise ConfigError unless `url` is an address of a web server."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{url!r} is no address that files can be fetched from; it must begin with http://SERVER or "
                          f"https://SERVER")


def _is_valid(path: Path, checksum: Checksum, writing: Writing) -> bool:
    if not path.is_file():
        return False
    with writing:
        found = checksum_of(path, len(checksum.digits), checksum.kind)
    if found != checksum.digits:
        logger.warning("%s is damaged: its checksum is %s instead of %s. It is fetched again", path, found,
                       checksum.digits)
    return found == checksum.digits


class _Transfer:
    """Download of one file, of which `part` is here, and which has `total` bytes (None: unknown)."""

    def __init__(self, url: str, path: Path, part: Partial, checksum: Checksum, length: tp.Optional[int],
                 timeout: float):
        self.url = url
        self.path = path
        self.part = part
        self.timeout = timeout
        self.total: tp.Optional[int] = None
        self.answered = False
        self._checksum = checksum
        self._length = length

    def run(self, attempts: int, pause: float) -> None:
        """Repeat attempts until the file is complete and has the right checksum."""
        failures = wrong = 0
        with meter(self.path.name, f"Fetching {self.url} -> {self.path}") as report:
            while True:
                before = self.part.have
                try:
                    self._attempt(report)
                    found = self.part.digits(len(self._checksum.digits))
                    if found == self._checksum.digits:
                        return
                    wrong += 1
                    sent = self.part.have
                    self.part.restart()
                    if wrong == 2:
                        raise DownloadError(f"{self.url}: sent {sent} bytes with the checksum {found} instead of "
                                            f"{self._checksum.digits}, twice; {PUBLISHED}")
                    raise _Broken(f"came with the checksum {found} instead of {self._checksum.digits}")
                except _Broken as error:
                    failures = 1 if self.part.have - before >= PROGRESS else failures + 1
                    if failures >= (attempts if self.answered else min(attempts, 2)):
                        raise Unreachable(str(error)) from error
                    wait = min(30., pause * 2 ** (failures - 1))
                    logger.info("%s: %s; trying again in %g s", self.url, error, wait)
                    time.sleep(wait)

    def _attempt(self, report: Report) -> None:
        request = urllib.request.Request(self.url, headers=HEADERS)
        if self.part.have:
            request.add_header("Range", f"bytes={self.part.have}-")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                self.answered = True
                self._begin(reply)
                while block := reply.read1(BLOCK):
                    self._append(block)
                    report(self.part.have, self.total)
        except urllib.error.HTTPError as error:
            self.answered = True
            self._refused(error)
            return
        except (OSError, http.client.HTTPException) as error:     # URLError and TimeoutError are OSErrors
            raise _Broken(_reason(error)) from error
        if self.total is not None and self.part.have != self.total:
            raise _Broken(f"the connection was closed after {self.part.have} of {self.total} bytes")

    def _begin(self, reply: http.client.HTTPResponse) -> None:
        """Prepare for the bytes that the server sends: the requested remainder, or the whole file from the start."""
        if reply.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
            if not match or int(match[1]) != self.part.have:
                self.part.restart()
                raise _Broken("the server sent another part than it was asked for")
            self.total = int(match[2]) if match[2] != "*" else None
        else:
            length = reply.headers.get("Content-Length", "")
            self.total = int(length) if length.isdigit() else None
        if self._length is not None and self.total is not None and self.total != self._length:
            raise DownloadError(f"{self.url}: has {self.total} bytes instead of {self._length}; {PUBLISHED}")
        if reply.status != 206 and self.part.have:
            logger.info("%s: cannot be resumed, and comes from the start", self.url)
            self.part.restart()

    def _refused(self, error: urllib.error.HTTPError) -> None:
        with error:
            if error.code == 416 and self.part.have:        # range not satisfiable: the file may be complete already
                if error.headers.get("Content-Range", "") == f"bytes */{self.part.have}":
                    return
                self.part.restart()
                raise _Broken("what was here is more than the server has")
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _Broken(f"the server said {error.code} {error.reason}") from error
            raise Unreachable(f"the server said {error.code} {error.reason}") from error

    def _append(self, block: bytes) -> None:
        if self._length is not None and self.part.have + len(block) > self._length:
            self.part.restart()
            raise DownloadError(f"{self.url}: sends more than the {self._length} bytes of the file; {PUBLISHED}")
        self.part.append(block)


def _reason(error: Exception) -> str:
    """Reason for the failure of a connection, in one line."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return " ".join(str(text).split())
