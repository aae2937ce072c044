"""Unpacking of zip archives, which are untrusted.

Every entry must be a regular file or a folder with a plain relative name, and the sizes in the directory of the archive
are limited before anything is written; the standard library then writes no more than these sizes. Files are written
atomically, and files of an earlier, interrupted call are kept.
"""

import logging
import os
import re
import shutil
import stat
import struct
import time
import typing as tp
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import DemucsError, describe_os_error, quoted
from ..files import atomic
from ..tables import counted
from .meter import size

logger = logging.getLogger(__name__)

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1                     # bit of the flags of an entry
LONGEST = 255                       # bytes of a file name
BLOCK = 2 ** 20
OFTEN = 10.                         # seconds between two log lines
IGNORED = re.compile(r"(^|/)(__MACOSX|\.DS_Store|Thumbs\.db|\._[^/]*)(/|$)")      # left by archivers
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError,
          UnicodeDecodeError)


class ArchiveError(DemucsError):
    """An archive is damaged, has entries that are not unpacked, or cannot be written to disk."""


class Entry(tp.NamedTuple):
    """A file in an archive: relative path, and size in bytes."""
    path: PurePosixPath
    size: int
    info: zipfile.ZipInfo


def entries(path: tp.Union[str, Path], *, most_bytes: int, most_files: int) -> tp.List[Entry]:
    """The files of the archive `path`, in its order, without those that archivers leave.

    Raises:
        ArchiveError: if the file is no zip archive, holds more than `most_files` files or `most_bytes` bytes, or has an
            entry with an unsafe name, an encrypted one, a link or a special file.
    """
    with _opened(path) as archive:
        return _checked(archive, Path(path), most_bytes, most_files)


def unpack(path: tp.Union[str, Path], folder: tp.Union[str, Path], *, most_bytes: int, most_files: int) -> int:
    """Write the files of the archive `path` to `folder`, which then has no other ones. Returns their number.

    Files with the right size are kept: an earlier call wrote them, as files are renamed once they are complete.

    Raises:
        ArchiveError: as `entries`, before the first file is written; if an entry is damaged; or if a file cannot be
            written.
    """
    path, folder = Path(path), Path(folder)
    with _opened(path) as archive:
        found = _checked(archive, path, most_bytes, most_files)
        total, done, logged = sum(entry.size for entry in found), 0, time.monotonic()
        logger.info("Unpacking %s: %s, %s", path, counted(len(found), "file"), size(total))
        for number, entry in enumerate(found, start=1):
            try:
                _write(archive, entry, folder / entry.path)
            except DAMAGE as error:
                raise ArchiveError(f"{path}: {ascii(str(entry.path))} is damaged ({quoted(error)}); download the "
                                   f"archive again") from error
            except OSError as error:
                raise ArchiveError(f"{path}: cannot be unpacked: {quoted(describe_os_error(error))}; free some space "
                                   f"there, or choose another folder") from error
            done += entry.size
            if time.monotonic() - logged >= OFTEN and number < len(found):
                logged = time.monotonic()
                logger.info("%s | unpacked %d of %s | %s of %s", path.name, number, counted(len(found), "file"),
                            size(done), size(total))
    _remove_others(folder, {entry.path for entry in found})
    return len(found)


def _opened(path: tp.Union[str, Path]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DAMAGE as error:
        raise ArchiveError(f"{path}: is no zip archive, or a damaged one ({quoted(error)}); download it "
                           f"again") from error


def _checked(archive: zipfile.ZipFile, path: Path, most_bytes: int, most_files: int) -> tp.List[Entry]:
    found: tp.List[Entry] = []
    names: tp.Dict[str, bool] = {}       # in lower case -> whether it is a folder
    for info in archive.infolist():
        if IGNORED.search(info.filename):
            continue
        reason = _refused(info) or _collision(info, names)
        if reason:
            raise ArchiveError(f"{path}: the entry {ascii(info.orig_filename)[:200]} {reason}; nothing is unpacked")
        if not info.is_dir():
            found.append(Entry(PurePosixPath(info.filename), info.file_size, info))
    total = sum(entry.size for entry in found)
    if len(found) > most_files or total > most_bytes:
        raise ArchiveError(f"{path}: holds {counted(len(found), 'file')} of {size(total)}, and at most {most_files} of "
                           f"{size(most_bytes)} are expected; nothing is unpacked")
    return found


def _refused(info: zipfile.ZipInfo) -> str:
    """Reason why an entry is not unpacked, "" if it is."""
    if not info.filename:
        return "has no name"
    name = info.filename.removesuffix("/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if re.search(r"[\\\x00-\x1f\x7f]", info.orig_filename + name):     # the library cuts names at a null byte
        return "has a name with unusual characters"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or {"", ".", ".."} & set(name.split("/")):
        return "would be outside of the folder"
    if any(len(os.fsencode(part)) > LONGEST for part in name.split("/")):
        return "has a name that is too long"
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        return "is a link" if kind == stat.S_IFLNK else "is neither a file nor a folder"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    return "" if info.compress_type in METHODS else f"has a compression that is not read here ({info.compress_type})"


def _collision(info: zipfile.ZipInfo, names: tp.Dict[str, bool]) -> str:
    """As `_refused`, for a name that is taken: by a file, or, ignoring case, on some file systems. Adds the name and
    its folders to `names`."""
    name = info.filename.removesuffix("/").casefold()
    if name in names and not (info.is_dir() and names[name]):
        return "is there twice"
    for parent in (str(parent) for parent in PurePosixPath(name).parents if parent.name):
        if not names.setdefault(parent, True):
            return "is below a file"
    names[name] = info.is_dir()
    return ""


def _write(archive: zipfile.ZipFile, entry: Entry, target: Path) -> None:
    if target.is_file() and not target.is_symlink() and target.stat().st_size == entry.size:
        return
    with atomic(target) as file, archive.open(entry.info) as source:       # which checks the CRC at the end
        shutil.copyfileobj(source, file, BLOCK)
        if file.tell() != entry.size:
            raise zipfile.BadZipFile(f"{file.tell()} of {entry.size} bytes")


def _remove_others(folder: Path, wanted: tp.Set[PurePosixPath]) -> None:
    """Delete what interrupted calls have left in `folder`."""
    for path in folder.rglob("*"):
        if not path.is_dir() and PurePosixPath(path.relative_to(folder).as_posix()) not in wanted:
            path.unlink(missing_ok=True)
