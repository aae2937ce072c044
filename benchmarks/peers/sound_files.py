"""`torchaudio.info` and `torchaudio.load`, which the training data loader of published Demucs 4.1.0 uses.

torchaudio 2.9 removed `info`, and `load` needs TorchCodec since, which is not in our environment. The functions here
read with soundfile, like the soundfile backend of torchaudio 2.8.
"""

import types
import typing as tp

import soundfile
import torch
import torchaudio


def provide() -> None:
    """Add both functions to torchaudio, unless it is older than 2.9. Call it before published Demucs reads a file."""
    if not hasattr(torchaudio, "info"):
        torchaudio.info, torchaudio.load = info, load


def info(path: str) -> types.SimpleNamespace:
    """Sample rate and number of samples per channel (`num_frames`) of a sound file."""
    found = soundfile.info(path)
    return types.SimpleNamespace(sample_rate=found.samplerate, num_frames=found.frames)


def load(path: str, frame_offset: int = 0, num_frames: int = -1) -> tp.Tuple[torch.Tensor, int]:
    """Samples [A, L] float32 from `frame_offset` on, at most `num_frames` of them (-1: all), and sample rate."""
    with soundfile.SoundFile(path) as file:
        file.seek(min(frame_offset, file.frames))
        return torch.from_numpy(file.read(num_frames, "float32", always_2d=True)).t(), file.samplerate
