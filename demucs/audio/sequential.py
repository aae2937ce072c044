"""Files of libsndfile that are read from one position on, without seeking in between.

The package soundfile seeks after every read to the position that has just been reached, which matters for files that are
also written to. In FLAC files it is expensive: libFLAC finds the position by decoding frames that it has decoded before.
"""

import typing as tp

import numpy as np
import soundfile


class SequentialFile(soundfile.SoundFile):
    """Sound file for reading, whose reads do not seek."""

    _reading = False

    def read(self, *arguments: tp.Any, **keywords: tp.Any) -> np.ndarray:
        state = vars(self)            # soundfile's own assignment of attributes takes longer, for every short file
        state["_reading"] = True
        try:
            return super().read(*arguments, **keywords)
        finally:
            state["_reading"] = False

    def seekable(self) -> bool:
        """Whether `seek` is possible. During a read it is not, so that soundfile leaves it out."""
        return not self._reading and super().seekable()
