"""Atomic writing of files."""

import contextlib
import os
import secrets
import shutil
import typing as tp
from pathlib import Path

LONGEST = 200      # bytes of a name that are part of the name of its temporary file; file systems allow 255


@contextlib.contextmanager
def atomic(path: tp.Union[str, Path]) -> tp.Iterator[tp.BinaryIO]:
    """Context with a new binary file, open for writing, that replaces `path` at the end, once it is complete and on
    disk. On any error it is deleted instead. Missing folders are created.

    A reader sees the old content or the new one, never a part of it; if the disk is full, the old one stays. A symbolic
    link is kept, and its target is replaced.
    """
    with _temporary(path, suffix=".tmp") as temporary, open(temporary, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def beside(path: tp.Union[str, Path]) -> tp.Iterator[Path]:
    """Context with a path in the folder of `path`, with its suffix, at which the block must write a file; for libraries
    that open a file by its name. At the end, that file replaces `path`, and on any error it is deleted, as by
    `atomic`."""
    with _temporary(path, suffix=f".tmp{Path(path).suffix}") as temporary:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())


def write_text(path: tp.Union[str, Path], text: str) -> None:
    """Write `text` to the file `path` in UTF-8, atomically. Undecodable bytes of file names are written as escapes."""
    with atomic(path) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


@contextlib.contextmanager
def _temporary(path: tp.Union[str, Path], *, suffix: str) -> tp.Iterator[Path]:
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsdecode(os.fsencode(path.name)[:LONGEST])
    temporary = path.with_name(f".{name}.{secrets.token_hex(4)}{suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None      # it has no name, or the temporary one
        raise


def obstacle(path: tp.Union[str, Path]) -> str:
    """Reason why a file cannot be written at `path`, as far as it can be known in advance; "" if there is none."""
    path = Path(path).absolute()
    if "\0" in str(path):
        return "its name holds a null byte"
    try:
        if path.is_dir():
            return "is a folder"
        if path.is_symlink() and not path.exists():
            target = Path(os.path.realpath(path))
            return "" if target.parent.is_dir() else f"is a link to {target}, whose folder is not there"
        folder = path.parent
        while not folder.exists():
            if folder.is_symlink():
                return f"{folder} is a link to {folder.readlink()}, which is not there"
            folder = folder.parent
        if not folder.is_dir():
            return f"{folder} is a file, not a folder"
        longest = os.pathconf(folder, "PC_NAME_MAX")
        for name in path.relative_to(folder).parts:
            if len(os.fsencode(name)) > longest:
                return f"the name {name!r} is too long: {len(os.fsencode(name))} bytes, the file system allows {longest}"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder} cannot be written in; make it writable, or choose another one"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def free_bytes(path: tp.Union[str, Path]) -> int:
    """Free space in bytes on the file system of `path`, which need not exist. Raises OSError if it cannot be
    determined."""
    folder = Path(os.path.realpath(path))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
