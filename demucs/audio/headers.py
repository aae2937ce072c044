"""Size and offset of the samples according to the headers of uncompressed audio files.

libsndfile accepts truncated files without an error, as if they were shorter. And programs that write to a pipe cannot
write the size into the header: they leave 0, or a number near the largest possible one.
"""

import io
import os
import struct
import typing as tp
from dataclasses import dataclass
from pathlib import Path

# Sizes near 2 ** 31 or 2 ** 32 that stand for "unknown" (sox: 0x7ffff000, arecord: 0x7fffffff minus its header...), and
# their counterparts of 64 bits.
PLACEHOLDERS = ((0x7FFF0000, 0x80000000), (0xFFFF0000, 0xFFFFFFFF), (2 ** 62, 2 ** 64))
LARGEST = 2 ** 62          # maximum offset of a chunk in bytes
BUFFER = 1 << 13           # bytes read at a time: most headers are shorter
MOST_CHUNKS = 10_000       # maximum number of chunks before the samples; a file of zeros looks like empty chunks
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


@dataclass(frozen=True)
class Promise:
    """Numbers of bytes of the samples in an audio file: `promised` by the header (None: unknown), and `present` in the
    file from byte `start` on."""
    promised: tp.Optional[int]
    present: int
    start: int

    @property
    def truncated(self) -> bool:
        """Whether the file has fewer bytes than the header promises; False if that is unknown."""
        return self.promised is not None and self.promised > self.present


def promise(path: Path) -> tp.Optional[Promise]:
    """Bytes of samples that the header of the file promises and those that are present, for wav (RIFF, RIFX, RF64,
    BW64), w64, aiff, au and caf; None for other files, and if no chunk with samples is found."""
    with open(path, "rb", buffering=BUFFER) as file:
        total = os.fstat(file.fileno()).st_size
        head = file.read(16)
        if head[8:12] == b"WAVE" and head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
            found = _riff(file, ">I" if head[:4] == b"RIFX" else "<I")
        elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            found = _chunk(file, 12, b"SSND", ">I")
        elif head[:4] == b".snd" and len(head) >= 12:
            found = struct.unpack(">II", head[4:12])
        elif head[:4] == b"caff":
            found = _chunk(file, 8, b"data", ">q", padded=False)
        elif head[:4] == b"riff":
            found = _w64(file)
        else:
            found = None
    if found is None:
        return None
    start, size = found
    present = max(total - start, 0)
    known = size >= 0 and not any(low <= size <= high for low, high in PLACEHOLDERS) or size <= present
    return Promise(size if known and size >= 0 else None, present, start)


def _chunk(file: tp.BinaryIO, offset: int, wanted: bytes, number: str, *, padded: bool = True
           ) -> tp.Optional[tp.Tuple[int, int]]:
    """(offset of the contents, size) of the chunk `wanted`, searched from byte `offset` on."""
    width = struct.calcsize(number)
    for _ in range(MOST_CHUNKS):
        if offset > LARGEST:
            break
        file.seek(offset)
        head = file.read(4 + width)
        if len(head) < 4 + width:
            return None
        size, = struct.unpack(number, head[4:])
        offset += 4 + width
        if head[:4] == wanted:
            return offset, size
        if size < 0:
            return None
        offset += size + (size % 2 if padded else 0)
    return None


def _riff(file: tp.BinaryIO, number: str) -> tp.Optional[tp.Tuple[int, int]]:
    found = _chunk(file, 12, b"data", number)
    if found is None or found[1] != 0xFFFFFFFF:
        return found
    long_sizes = _chunk(file, 12, b"ds64", number)       # in files above 4 GiB: RIFF size, then data size
    if long_sizes is None or long_sizes[0] > found[0]:
        return found
    file.seek(long_sizes[0])
    sizes = file.read(16)
    return (found[0], struct.unpack("<8xQ", sizes)[0]) if len(sizes) == 16 else found


def _w64(file: tp.BinaryIO) -> tp.Optional[tp.Tuple[int, int]]:
    """As `_chunk` for Sony's wave64, whose chunks have names of 16 bytes and sizes of 8 bytes, which include these 24
    bytes and are padded to multiples of 8."""
    offset = 40
    for _ in range(MOST_CHUNKS):
        if offset > LARGEST:
            break
        file.seek(offset)
        head = file.read(24)
        if len(head) < 24:
            return None
        size, = struct.unpack("<q", head[16:])
        if head[:16] == W64_DATA:
            return offset + 24, max(size, 24) - 24
        if size < 24:
            return None
        offset += (size + 7) // 8 * 8
    return None


def holds_samples(path: Path, found: Promise) -> bool:
    """Whether a RIFF file whose header has the size 0 contains samples nevertheless: bytes that are not further chunks.
    False for all other files. `found` is the `promise` of `path`."""
    if found.promised != 0 or not found.present:
        return False
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF":
            return False
        offset, total = found.start, found.start + found.present
        for _ in range(MOST_CHUNKS):
            if offset >= total:
                break
            file.seek(offset)
            head = file.read(8)
            if len(head) < 8 or not head[:4].isascii() or not head[:4].decode("ascii").isprintable():
                return True
            offset += 8 + struct.unpack("<I", head[4:])[0]
            offset += offset % 2
        return offset < total or offset > total + 1


class Mended(io.RawIOBase):
    """Read-only binary file object: the file `path`, with the bytes in `changes` ({offset: bytes}) in place of its own,
    for `soundfile.SoundFile`. The file on disk is not changed."""

    def __init__(self, path: Path, changes: tp.Mapping[int, bytes]):
        self._file = open(path, "rb")
        self._changes = dict(changes)

    def seekable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: tp.Any) -> int:
        begin = self._file.tell()
        data = bytearray(self._file.read(len(buffer)))
        for offset, new in self._changes.items():
            for index, byte in enumerate(new, start=offset - begin):
                if 0 <= index < len(data):
                    data[index] = byte
        buffer[:len(data)] = bytes(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def with_sizes(path: Path, found: Promise) -> Mended:
    """Read-only view of the wav file `path` with the size of its samples in the header instead of 0. `found` is its
    `promise`."""
    data = min(found.present, 0xFFFFFF00)
    return Mended(path, {4: struct.pack("<I", data + found.start - 8), found.start - 4: struct.pack("<I", data)})
