"""mp3 files with the silence that encoders put around a song.

Most encoders note in a first frame without sound ("Xing" or "Info") how many samples of silence they and the decoder
add at both ends, and libsndfile leaves those away. Published Demucs 4.1.0 does not: separated stems of an mp3 begin some
1100 samples later. Where its files have to be met, that frame is cut out before decoding.
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
VBRI = 36        # where Fraunhofer's encoder has its note, in the frame


def read_with_padding(path: tp.Union[str, Path]) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, rate in Hz) of an mp3 file with the silence at its ends. Raises AudioError."""
    try:
        samples, rate = soundfile.read(io.BytesIO(without_note(Path(path).read_bytes())), dtype="float32",
                                       always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: damaged, cannot be decoded ({error}); copy or download it again") from error
    if not len(samples):
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    return torch.from_numpy(np.ascontiguousarray(samples.T)), rate


def without_note(data: bytes) -> bytes:
    """The frames of an mp3 file without the first one, where that holds no sound but the note of the encoder."""
    start = 0
    while data[start:start + 3] == b"ID3":
        sevens = data[start + 6:start + 10]
        start += 10 + sum(byte << 7 * place for place, byte in zip((3, 2, 1, 0), sevens))
    length, place = _first_frame(data, start)
    note = data[start + place:start + place + 4] in (b"Xing", b"Info") or \
        data[start + VBRI:start + VBRI + 4] == b"VBRI"
    return data[start + length:] if length and note else data


def _first_frame(data: bytes, start: int) -> tp.Tuple[int, int]:
    """Length of the frame at `start`, and where in it a note would be; (0, 0) where there is no frame of layer III."""
    head, = struct.unpack(">I", data[start:start + 4].ljust(4, b"\0"))
    version, layer, rate = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3
    speed, padding, mono = head >> 12 & 15, head >> 9 & 1, head >> 6 & 3 == 3
    if head >> 21 != 0x7FF or layer != 1 or version not in RATES or rate == 3 or speed in (0, 15):
        return 0, 0
    first = version == 3
    length = (144 if first else 72) * KILOBITS[first][speed] * 1000 // RATES[version][rate] + padding
    return length, 4 + SIDE_INFORMATION[first, mono]
