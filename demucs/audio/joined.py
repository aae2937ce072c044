"""Audio files that are several files behind one another, as `cat a b` makes them: players go on, libsndfile stops at the
end of the first."""

import io
import logging
import mmap
import re
import struct
import typing as tp
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..dsp.convert import convert_audio
from ..errors import AudioError
from ..notes import without_library_notes

logger = logging.getLogger(__name__)

BLOCK = 2 ** 20               # samples that are decoded at once
FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")      # the mark, and the head of its first block, which has 34 bytes
RIFF = (b"RIFF", b"RF64", b"RIFX")


def files_in(path: Path) -> tp.List[bytes]:
    """The wav or flac files that a file consists of; nothing where it is a single one, or of another kind."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = [found.start() for found in FLAC.finditer(data)] if FLAC.match(data) else _riff_files(data)
        ends = [*places[1:], len(data)]
        return [data[begin:end] for begin, end in zip(places, ends)] if len(places) > 1 else []


def _riff_files(data: tp.Union[bytes, mmap.mmap]) -> tp.List[int]:
    """Where they begin. The size in the header of each leads to the next; one that is not known leads nowhere."""
    places, place = [], 0
    while data[place:place + 4] in RIFF and data[place + 8:place + 12] == b"WAVE":
        places.append(place)
        size, = struct.unpack(">I" if data[place:place + 4] == b"RIFX" else "<I", data[place + 4:place + 8])
        place += 8 + size + size % 2
    return places


def decode(path: tp.Union[str, Path], data: bytes, silent: int = 0) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], rate in Hz) that libsndfile finds in `data`, without the first `silent` ones. Raises AudioError."""
    blocks: tp.List[np.ndarray] = []
    try:
        with without_library_notes(), soundfile.SoundFile(io.BytesIO(data)) as file:
            while not blocks or len(blocks[-1]) == BLOCK:
                blocks.append(file.read(BLOCK, dtype="float32", always_2d=True))
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: damaged, cannot be decoded ({error.error_string}); copy or download it again") from error
    samples = np.concatenate(blocks)[silent:]
    if not len(samples):
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    return torch.from_numpy(np.ascontiguousarray(samples.T)), rate


def join(path: tp.Union[str, Path], wavs: tp.Sequence[tp.Tuple[torch.Tensor, int]]) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], rate in Hz) of what was decoded in turn: at the rate of the first, with as many channels as any has."""
    rate, channels = wavs[0][1], max(wav.shape[0] for wav, _ in wavs)
    if len(wavs) > 1:
        kinds = ", ".join(f"{own} Hz with {wav.shape[0]} channel{'s' * (wav.shape[0] > 1)}" for wav, own in wavs[:8])
        logger.warning("%s: %d files in one (%s); all are converted to %d Hz with %d channels", path, len(wavs), kinds,
                       rate, channels)
    return torch.cat([convert_audio(wav, own, rate, channels) for wav, own in wavs], dim=1), rate
