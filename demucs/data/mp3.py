"""mp3 files with the silence that encoders put around a song, to their last frame.

Most encoders note in a first frame without sound ("Xing" or "Info") how many frames there are, and how many samples of
silence they and the decoder add at both ends; libsndfile leaves those away. Published Demucs 4.1.0 does not: separated
stems of an mp3 begin some 1100 samples later. Where its files have to be met, that frame has to go.

But then libsndfile guesses the number of frames from the size of the first one, and stops there, too early where the bit
rate varies. So a silent frame of the lowest bit rate takes the first place, and is cut off after decoding.
"""

import io
import struct
import typing as tp
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..errors import AudioError

# ISO/IEC 11172-3 and 13818-3, layer III; version bits: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
KILOBITS = {True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
            False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
SIDE_INFORMATION = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # (MPEG 1, mono): bytes
NOTES = (b"Xing", b"Info")
VBRI = 36                     # where Fraunhofer's encoder has its note, in the frame
BLOCK = 2 ** 20               # samples that are decoded at once


class _Frame(tp.NamedTuple):
    """A frame of layer III: its size in bytes and in samples, and where in it a note would be."""
    size: int
    samples: int
    place: int


def read_with_padding(path: tp.Union[str, Path]) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, rate in Hz) of an mp3 file with the silence at its ends. Raises AudioError."""
    data, silent = behind_silence(Path(path).read_bytes())
    blocks = []
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            while not blocks or len(blocks[-1]) == BLOCK:
                blocks.append(file.read(BLOCK, dtype="float32", always_2d=True))
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: damaged, cannot be decoded ({error}); copy or download it again") from error
    samples = np.concatenate(blocks)[silent:]
    if not len(samples):
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    return torch.from_numpy(np.ascontiguousarray(samples.T)), rate


def behind_silence(data: bytes) -> tp.Tuple[bytes, int]:
    """The frames of an mp3 file that hold sound, behind a silent frame, and its length in samples.

    Data that do not begin with a frame of layer III stay as they are, without silence.
    """
    start = 0
    while data[start:start + 3] == b"ID3":
        sevens = data[start + 6:start + 10]
        start += 10 + sum(byte << 7 * place for place, byte in zip((3, 2, 1, 0), sevens))
    frame = _frame(data[start:start + 4])
    if frame is None:
        return data, 0
    if data[start + frame.place:start + frame.place + 4] in NOTES or data[start + VBRI:start + VBRI + 4] == b"VBRI":
        start += frame.size
        frame = _frame(data[start:start + 4])
        if frame is None:
            return data[start:], 0
    first, second, third, fourth = data[start:start + 4]
    header = bytes([first, second | 1, third & 0x0C | 0x10, fourth])      # no checksum, lowest rate, not padded
    return header.ljust(_frame(header).size, b"\0") + data[start:], frame.samples


def _frame(header: bytes) -> tp.Optional[_Frame]:
    head, = struct.unpack(">I", header.ljust(4, b"\0"))
    version, layer, rate = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3
    speed, padding, mono = head >> 12 & 15, head >> 9 & 1, head >> 6 & 3 == 3
    if head >> 21 != 0x7FF or layer != 1 or version not in RATES or rate == 3 or speed in (0, 15):
        return None
    first = version == 3
    size = (144 if first else 72) * KILOBITS[first][speed] * 1000 // RATES[version][rate] + padding
    return _Frame(size, 1152 if first else 576, 4 + SIDE_INFORMATION[first, mono])
