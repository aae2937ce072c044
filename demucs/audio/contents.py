"""Bytes of a file, of which only a part is in memory at a time."""

import os
import re
import typing as tp

WINDOW = 2 ** 20        # bytes that are kept
SEARCHED = 2 ** 16      # bytes that are searched at a time


class Contents:
    """Bytes of an open binary file, with `len` and slices without steps like those of `bytes`. The last `WINDOW` bytes
    that were read are kept."""

    def __init__(self, file: tp.BinaryIO):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._start, self._window = 0, b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, wanted: slice) -> bytes:
        start, stop, _ = wanted.indices(self._size)
        if stop <= start:
            return b""
        if stop - start > WINDOW:
            return self._read(start, stop - start)
        if start < self._start or stop > self._start + len(self._window):
            self._start, self._window = start, self._read(start, WINDOW)
        return self._window[start - self._start:stop - self._start]

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


Data = tp.Union[bytes, Contents]


def search(pattern: "re.Pattern[bytes]", data: Data, offset: int, length: int) -> tp.Optional[int]:
    """First offset >= `offset` in `data` at which `pattern` matches, whose matches have `length` bytes; None if there
    is none."""
    while offset < len(data):
        found = pattern.search(data[offset:offset + SEARCHED + length - 1])
        if found is not None:
            return offset + found.start()
        offset += SEARCHED
    return None
