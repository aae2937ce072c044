"""Decoding of mp3 files including encoder delay and padding, from the first frame to the last.

Most encoders write an information frame without audio ("Xing" or "Info") with the number of frames, and the number of
samples of delay and padding, which libsndfile removes. Published Demucs 4.1.0 does not remove them: stems separated
from an mp3 start some 1100 samples later. To reproduce its files, the information frame is removed.

But then libsndfile estimates the number of frames from the size of the first frame, and stops too early if the bit rate
varies. So a silent frame of the lowest bit rate is inserted at the start, and its samples are cut off after decoding.

Frames are parsed one after another. Other data before the first frame or between two frames (tags, padding, junk) is
skipped. Concatenated files with different sample rates or channels are decoded separately.
"""

import io
import logging
import re
import struct
import typing as tp
from pathlib import Path

import torch

from .contents import Contents, Data, search
from .joined import decode, join

logger = logging.getLogger(__name__)

# ISO/IEC 11172-3 and 13818-3, layer III; version bits: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
KILOBITS = {True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
            False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
SIDE_INFORMATION = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # (MPEG 1, mono): bytes
HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")      # first bytes of a frame of layer III
NOTES = (b"Xing", b"Info")    # markers of an information frame
COUNTED = 1                   # flag in the information: the number of frames follows
VBRI = 36                     # offset of the information of Fraunhofer's encoder in the frame
SURE = 3                      # consecutive frames that identify a start: two bytes of junk can look like a frame header
SPARE = 2                     # tolerance for the number of frames, which encoders may count wrongly


class _Frame(tp.NamedTuple):
    """Frame of layer III: size in bytes and in samples, offset of encoder information, sample rate in Hz, channels."""
    size: int
    samples: int
    offset: int
    rate: int
    channels: int


class Index(tp.NamedTuple):
    """Consecutive mp3 frames of one sample rate and number of channels: their ranges of bytes, their number, the header
    of the first, and the number of frames according to the encoder (`promised`; None: unknown)."""
    runs: tp.List[tp.Tuple[int, int]]
    count: int
    first: _Frame
    promised: tp.Optional[int]


class Part(tp.NamedTuple):
    """`Index` with the bytes of the frames in place of their ranges."""
    frames: bytes
    count: int
    first: _Frame
    promised: tp.Optional[int]


def read_with_padding(path: tp.Union[str, Path]) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, sample rate in Hz) of an mp3 file including encoder delay and padding.

    Parts with other sample rates are converted to that of the first, and all parts to the largest number of channels. A
    warning is logged if frames are missing at the end. Raises AudioError if the file cannot be decoded, OSError if it
    cannot be opened.
    """
    data = Path(path).read_bytes()
    found = parts(data)
    if not found:
        return decode(path, data)
    first, promised, count = found[0].first, found[0].promised or 0, sum(part.count for part in found)
    if count < promised - SPARE:
        logger.warning("%s: cut: its encoder wrote %d frames, %d are there, %.1f s less", path, promised, count,
                       (promised - count) * first.samples / first.rate)
    return join(path, [decode(path, *_with_silent_frame(part.frames, part.first)) for part in found])


def parts(data: bytes) -> tp.List[Part]:
    """Frames of layer III with audio in `data`, the content of an mp3 file, grouped by consecutive sample rate and
    number of channels; an empty list if there are none."""
    return [Part(b"".join(data[begin:end] for begin, end in found.runs), *found[1:]) for found in indexed(data)]


class FrameFile(io.RawIOBase):
    """Read-only file object that `read_with_padding` decodes, of which nothing is in memory: an inserted silent frame
    and the frames of the mp3 file `path`.

    Attributes:
        silent: number of samples of the silent frame, which precede those of the file.
        count: number of samples of the file.
        first: header of its first frame.

    Raises:
        ValueError: if the file has no frames, several parts, or fewer frames than its encoder wrote.
    """

    def __init__(self, path: tp.Union[str, Path]):
        self._file = open(path, "rb")
        data = Contents(self._file)
        found = indexed(data)
        if len(found) != 1 or found[0].count < (found[0].promised or 0) - SPARE:
            self._file.close()
            raise ValueError("frames are missing, or of several kinds")
        part, = found
        self._head, self.silent = _with_silent_frame(data[part.runs[0][0]:part.runs[0][0] + 4], part.first, alone=True)
        self.count = part.count * part.first.samples
        self.first = part.first
        self._runs = part.runs
        self._size = len(self._head) + sum(end - begin for begin, end in part.runs)
        self._place = 0

    def seekable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: tp.Any) -> int:
        wanted = len(buffer)
        data = self._head[self._place:self._place + wanted]
        place = self._place + len(data) - len(self._head)      # counted from the start of a run
        for begin, end in self._runs:
            size = min(end - begin - place, wanted - len(data))
            if size > 0:
                self._file.seek(begin + place)
                data += self._file.read(size)
            place = max(0, place - (end - begin))
            if len(data) == wanted:
                break
        buffer[:len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def indexed(data: Data) -> tp.List[Index]:
    """`parts` without the bytes of their frames."""
    found: tp.List[Index] = []
    runs: tp.List[tp.Tuple[int, int]] = []
    first: tp.Optional[_Frame] = None
    count, promised = 0, None

    def close() -> None:
        if first is not None and count:
            found.append(Index(runs, count, first, promised))

    offset = _next_frame(data, 0)
    while offset is not None:
        frame = _frame(data[offset:offset + 4])
        if first is None or (frame.rate, frame.channels) != (first.rate, first.channels):
            close()
            runs, count, first, promised = [], 0, frame, None
            is_information, promised = _information(data, offset, frame)
            if is_information:
                offset = _next_frame(data, offset + frame.size)
                continue
        begin = offset
        while frame is not None and offset + frame.size <= len(data) and _same(frame, first):
            offset += frame.size
            count += 1
            frame = _frame(data[offset:offset + 4])
        runs.append((begin, offset))
        offset = _next_frame(data, max(offset, begin + 1))
    close()
    return found


def _same(frame: _Frame, other: _Frame) -> bool:
    return (frame.rate, frame.channels) == (other.rate, other.channels)


def _next_frame(data: Data, offset: int) -> tp.Optional[int]:
    """First offset >= `offset` at which consecutive frames start, or frames up to the end of the data."""
    while True:
        header = search(HEADER, data, _after_tags(data, offset), 2)
        if header is None or _starts_frames(data, header):
            return header
        offset = header + 1


def _starts_frames(data: Data, offset: int) -> bool:
    first = frame = _frame(data[offset:offset + 4])
    for _ in range(SURE - 1):
        if frame is None or not _same(frame, first) or offset + frame.size > len(data):
            return False
        offset += frame.size
        if offset == len(data) or data[offset:offset + 3] in (b"TAG", b"ID3", b"APE"):
            return True
        frame = _frame(data[offset:offset + 4])
    return frame is not None and _same(frame, first)


def _after_tags(data: Data, offset: int) -> int:
    """Offset after the ID3v2 tags, with their footers, that start at `offset`."""
    while data[offset:offset + 3] == b"ID3" and len(data) >= offset + 10:
        sevens = data[offset + 6:offset + 10]
        size = sum(byte << 7 * power for power, byte in zip((3, 2, 1, 0), sevens))
        footer = 10 if data[offset + 5:offset + 6][0] & 0x10 else 0
        if offset + 10 + size + footer > len(data):
            break
        offset += 10 + size + footer
    return offset


def _information(data: Data, start: int, frame: _Frame) -> tp.Tuple[bool, tp.Optional[int]]:
    """(whether the frame at `start` has encoder information instead of audio, number of frames according to it)."""
    offset = start + frame.offset
    if data[offset:offset + 4] in NOTES:
        flags = data[offset + 4:offset + 12]
        return True, struct.unpack(">I", flags[4:])[0] if len(flags) == 8 and flags[3] & COUNTED else None
    return data[start + VBRI:start + VBRI + 4] == b"VBRI", None


def _with_silent_frame(frames: bytes, frame: _Frame, *, alone: bool = False) -> tp.Tuple[bytes, int]:
    """`frames` after an inserted silent frame (with `alone` that frame only), and the number of its samples."""
    first, second, third, fourth = frames[:4]
    header = bytes([first, second | 1, third & 0x0C | 0x10, fourth])      # no checksum, lowest rate, not padded
    silent = header.ljust(_frame(header).size, b"\0")
    return silent if alone else silent + frames, frame.samples


def _frame(header: bytes) -> tp.Optional[_Frame]:
    head, = struct.unpack(">I", header.ljust(4, b"\0"))
    version, layer, rate = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3
    speed, padding, mono = head >> 12 & 15, head >> 9 & 1, head >> 6 & 3 == 3
    if head >> 21 != 0x7FF or layer != 1 or version not in RATES or rate == 3 or speed in (0, 15):
        return None
    first = version == 3
    size = (144 if first else 72) * KILOBITS[first][speed] * 1000 // RATES[version][rate] + padding
    return _Frame(size, 1152 if first else 576, 4 + SIDE_INFORMATION[first, mono], RATES[version][rate],
                  1 if mono else 2)
