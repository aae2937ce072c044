"""mp3 files with the silence that encoders put around a song, from their first frame to their last.

Most encoders note in a first frame without sound ("Xing" or "Info") how many frames there are, and how many samples of
silence they and the decoder add at both ends; libsndfile leaves those away. Published Demucs 4.1.0 does not: separated
stems of an mp3 begin some 1100 samples later. Where its files have to be met, that frame has to go.

But then libsndfile guesses the number of frames from the size of the first one, and stops there, too early where the bit
rate varies. So a silent frame of the lowest bit rate takes the first place, and is cut off after decoding.

Frames are followed from one to the next: what stands before the first one or between two (tags, padding, junk) is left
out, and several files that were joined are decoded each by itself where their rates or channels differ.
"""

import logging
import re
import struct
import typing as tp
from pathlib import Path

import torch

from .joined import decode, join

logger = logging.getLogger(__name__)

# ISO/IEC 11172-3 and 13818-3, layer III; version bits: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
KILOBITS = {True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
            False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
SIDE_INFORMATION = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # (MPEG 1, mono): bytes
HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")      # how a frame of layer III begins
NOTES = (b"Xing", b"Info")
COUNTED = 1                   # flag of such a note: the number of frames follows
VBRI = 36                     # where Fraunhofer's encoder has its note, in the frame
SURE = 3                      # frames in a row that make a beginning: two bytes of junk can look like one
SPARE = 2                     # frames by which encoders may miscount themselves


class _Frame(tp.NamedTuple):
    """A frame of layer III: its size in bytes and in samples, where in it a note would be, rate (Hz) and channels."""
    size: int
    samples: int
    place: int
    rate: int
    channels: int


class Part(tp.NamedTuple):
    """A run of frames of one rate and number of channels. `promised`: frames by the note of the encoder, or None."""
    frames: bytes
    count: int
    first: _Frame
    promised: tp.Optional[int]


def read_with_padding(path: tp.Union[str, Path]) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, rate in Hz) of an mp3 file with the silence at its ends.

    Parts that differ in rate or channels from the first are converted to its rate, and all to as many channels as any has.
    Raises AudioError.
    """
    data = Path(path).read_bytes()
    found = parts(data)
    if not found:
        return decode(path, data)
    first, promised, count = found[0].first, found[0].promised or 0, sum(part.count for part in found)
    if count < promised - SPARE:
        logger.warning("%s: cut: its encoder wrote %d frames, %d are there, %.1f s less", path, promised, count,
                       (promised - count) * first.samples / first.rate)
    return join(path, [decode(path, *_silenced(part.frames, part.first)) for part in found])


def parts(data: bytes) -> tp.List[Part]:
    """The frames of layer III in `data` that hold sound, in runs of one rate and number of channels."""
    found: tp.List[Part] = []
    runs: tp.List[tp.Tuple[int, int]] = []       # of bytes
    first: tp.Optional[_Frame] = None
    count, promised = 0, None

    def close() -> None:
        if first is not None and count:
            found.append(Part(b"".join(data[begin:end] for begin, end in runs), count, first, promised))

    place = _next_frame(data, 0)
    while place is not None:
        frame = _frame(data[place:place + 4])
        if first is None or (frame.rate, frame.channels) != (first.rate, first.channels):
            close()
            runs, count, first, promised = [], 0, frame, None
            has_note, promised = _note(data, place, frame)
            if has_note:
                place = _next_frame(data, place + frame.size)
                continue
        begin = place
        while frame is not None and place + frame.size <= len(data) and _same(frame, first):
            place += frame.size
            count += 1
            frame = _frame(data[place:place + 4])
        runs.append((begin, place))
        place = _next_frame(data, max(place, begin + 1))
    close()
    return found


def _same(frame: _Frame, other: _Frame) -> bool:
    return (frame.rate, frame.channels) == (other.rate, other.channels)


def _next_frame(data: bytes, place: int) -> tp.Optional[int]:
    """The first place from `place` on where frames begin that follow one another, or the last of which ends the data."""
    while True:
        place = _behind_tags(data, place)
        header = HEADER.search(data, place)
        if header is None:
            return None
        if _begins(data, header.start()):
            return header.start()
        place = header.start() + 1


def _begins(data: bytes, place: int) -> bool:
    first = frame = _frame(data[place:place + 4])
    for _ in range(SURE - 1):
        if frame is None or not _same(frame, first) or place + frame.size > len(data):
            return False
        place += frame.size
        if place == len(data) or data[place:place + 3] in (b"TAG", b"ID3", b"APE"):
            return True
        frame = _frame(data[place:place + 4])
    return frame is not None and _same(frame, first)


def _behind_tags(data: bytes, place: int) -> int:
    """The place behind the ID3v2 tags that begin at `place`, with their footers."""
    while data[place:place + 3] == b"ID3" and len(data) >= place + 10:
        sevens = data[place + 6:place + 10]
        size = sum(byte << 7 * power for power, byte in zip((3, 2, 1, 0), sevens))
        footer = 10 if data[place + 5] & 0x10 else 0
        if place + 10 + size + footer > len(data):
            break
        place += 10 + size + footer
    return place


def _note(data: bytes, start: int, frame: _Frame) -> tp.Tuple[bool, tp.Optional[int]]:
    """Whether the frame at `start` holds an encoder's note instead of sound, and how many frames that promises."""
    place = start + frame.place
    if data[place:place + 4] in NOTES:
        flags = data[place + 4:place + 12]
        return True, struct.unpack(">I", flags[4:])[0] if len(flags) == 8 and flags[3] & COUNTED else None
    return data[start + VBRI:start + VBRI + 4] == b"VBRI", None


def _silenced(frames: bytes, frame: _Frame) -> tp.Tuple[bytes, int]:
    first, second, third, fourth = frames[:4]
    header = bytes([first, second | 1, third & 0x0C | 0x10, fourth])      # no checksum, lowest rate, not padded
    return header.ljust(_frame(header).size, b"\0") + frames, frame.samples


def _frame(header: bytes) -> tp.Optional[_Frame]:
    head, = struct.unpack(">I", header.ljust(4, b"\0"))
    version, layer, rate = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3
    speed, padding, mono = head >> 12 & 15, head >> 9 & 1, head >> 6 & 3 == 3
    if head >> 21 != 0x7FF or layer != 1 or version not in RATES or rate == 3 or speed in (0, 15):
        return None
    first = version == 3
    size = (144 if first else 72) * KILOBITS[first][speed] * 1000 // RATES[version][rate] + padding
    return _Frame(size, 1152 if first else 576, 4 + SIDE_INFORMATION[first, mono], RATES[version][rate], 1 if mono else 2)
