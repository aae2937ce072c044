"""Reading of whole audio files as arrays, without torch, for figures and comparisons. `reading` is for songs."""

import os
import typing as tp
from pathlib import Path

import numpy as np
import soundfile

from ..errors import AudioError
from ..notes import without_library_notes


def read_samples(path: tp.Union[str, Path], dtype: str = "float64") -> tp.Tuple[np.ndarray, int]:
    """(samples [L, A] of type `dtype`, sample rate in Hz) of a whole audio file, read by libsndfile. For a
    floating-point type, integer formats are scaled to [-1, 1). Raises AudioError if libsndfile cannot read it."""
    try:
        with without_library_notes():
            return soundfile.read(os.fsencode(path), dtype=dtype, always_2d=True)
    except (RuntimeError, OSError) as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise AudioError(f"{path}: cannot be read as audio ({reason}); separate the track again") from error
