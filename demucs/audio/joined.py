"""Audio files that are a concatenation of several files, as written by `cat a b`: players continue, libsndfile stops at
the end of the first."""

import io
import logging
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
from .contents import Contents, Data, search

logger = logging.getLogger(__name__)

BLOCK = 2 ** 20               # samples decoded at a time
FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")      # marker, header of the first metadata block (34 bytes)
MARKED = 8                    # bytes of these
RIFF = (b"RIFF", b"RF64", b"RIFX")


def files_in(path: Path) -> tp.List[bytes]:
    """Contents of the wav or flac files that the file `path` is a concatenation of, in their order; an empty list for a
    single file or another format."""
    with open(path, "rb") as file:
        data = Contents(file)
        offsets = _offsets(data)
        ends = [*offsets[1:], len(data)]
        return [data[begin:end] for begin, end in zip(offsets, ends)] if len(offsets) > 1 else []


def holds_several(path: Path) -> bool:
    """Whether the file `path` is a concatenation of several wav or flac files, found without their contents in
    memory."""
    with open(path, "rb") as file:
        return len(_offsets(Contents(file))) > 1


def _offsets(data: Data) -> tp.List[int]:
    """Offsets of the wav or flac files in `data`; empty for another format."""
    if not FLAC.match(data[:MARKED]):
        return _riff_files(data)
    offsets = [0]
    while (found := search(FLAC, data, offsets[-1] + 1, MARKED)) is not None:
        offsets.append(found)
    return offsets


def _riff_files(data: Data) -> tp.List[int]:
    """Offsets of RIFF files, up to the first one whose header does not have its true size."""
    offsets, offset = [], 0
    while data[offset:offset + 4] in RIFF and data[offset + 8:offset + 12] == b"WAVE":
        offsets.append(offset)
        size, = struct.unpack(">I" if data[offset:offset + 4] == b"RIFX" else "<I", data[offset + 4:offset + 8])
        offset += 8 + size + size % 2
    return offsets


def decode(path: tp.Union[str, Path], data: bytes, silent: int = 0) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, sample rate in Hz) that libsndfile decodes from `data`, the content of an audio file,
    without the first `silent` samples. `path` is for messages. Raises AudioError if it cannot be decoded or no sample
    is left."""
    blocks: tp.List[np.ndarray] = []
    try:
        with without_library_notes(), soundfile.SoundFile(io.BytesIO(data)) as file:
            while not blocks or len(blocks[-1]) == BLOCK:
                blocks.append(file.read(BLOCK, dtype="float32", always_2d=True))
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: damaged, cannot be decoded ({error.error_string}); copy or download it "
                         f"again") from error
    samples = np.concatenate(blocks)[silent:]
    if not len(samples):
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    return torch.from_numpy(np.ascontiguousarray(samples.T)), rate


def join(path: tp.Union[str, Path], wavs: tp.Sequence[tp.Tuple[torch.Tensor, int]]) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], sample rate in Hz) of the concatenation of `wavs`, pairs of samples [A, L] and rate. The result
    has the rate of the first and the largest number of channels; for several parts a warning about `path` is logged.
    Raises AudioError as `convert_audio`."""
    rate, channels = wavs[0][1], max(wav.shape[0] for wav, _ in wavs)
    if len(wavs) > 1:
        kinds = ", ".join(f"{own} Hz with {wav.shape[0]} channel{'s' * (wav.shape[0] > 1)}" for wav, own in wavs[:8])
        logger.warning("%s: %d files in one (%s); all are converted to %d Hz with %d channels", path, len(wavs), kinds,
                       rate, channels)
    return torch.cat([convert_audio(wav, own, rate, channels) for wav, own in wavs], dim=1), rate
