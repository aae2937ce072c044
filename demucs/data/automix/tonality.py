"""Key and tuning of a song, from its pitched stems.

Keys are told apart by their seven notes: a major key, its relative minor, and the other modes of the same notes are one
key signature here. Stems of songs whose signatures agree use the same notes, and which of them is the tonic cannot be
heard reliably in one stem.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np

from .rhythm import CHROMA_HOP, SAMPLERATE

OCTAVES = 6                                 # from C1
PARTIALS = {19: 0.3, 28: 0.2}               # semitones above the fundamental, and share of it that is subtracted there
EMPHASIS = 4                                # exponent, in every frame
HOP = 1024                                  # samples between the frames
MAJOR = (0, 2, 4, 5, 7, 9, 11)              # semitones of the major scale
NAMES = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
LEAST_MARGIN = 0.02     # of the energy: the notes of a signature must have so much more than those of any other


@dataclass(frozen=True)
class Tonality:
    """Key signature of a song, as the pitch class of its major key (0 is C), and tuning in semitones above A440.

    `margin` is the energy of its notes minus that of the notes of any other signature, of 1 for all notes; `doubt` is
    the reason why the estimate should not be used, "" if there is none.
    """
    signature: int
    tuning: float
    margin: float
    doubt: str = ""

    @property
    def name(self) -> str:
        return key_name(self.signature)


def key_name(signature: int) -> str:
    """Name of a key signature, such as "C major / A minor"."""
    return f"{NAMES[signature % 12]} major / {NAMES[(signature + 9) % 12]} minor"


def pitch_classes(stems: tp.Sequence[tp.Tuple[np.ndarray, float]]) -> tp.Tuple[np.ndarray, float]:
    """(energy [12] of the pitch classes in mono signals at SAMPLERATE, each with its weight; their tuning in
    semitones).

    Every signal counts by its weight, whatever its level. Third and fifth partials, which are other pitch classes than
    their fundamentals, are subtracted in part, and in every frame the strongest pitch classes count most.
    """
    import librosa
    tuning = float(librosa.estimate_tuning(y=np.sum([stem for stem, _ in stems], axis=0), sr=SAMPLERATE, n_fft=8192))
    total = np.zeros(12)
    for stem, weight in stems:
        bins = np.abs(librosa.cqt(y=stem, sr=SAMPLERATE, hop_length=HOP, tuning=tuning, fmin=librosa.note_to_hz("C1"),
                                  n_bins=36 * OCTAVES, bins_per_octave=36)).astype(np.float64)
        notes = np.roll(bins, 1, axis=0).reshape(12 * OCTAVES, 3, -1).sum(axis=1)       # three bins about each semitone
        without = notes.copy()
        for interval, share in PARTIALS.items():
            without[interval:] -= share * notes[:-interval]
        classes = np.maximum(without, 0).reshape(OCTAVES, 12, -1).sum(axis=0)
        loud = classes ** EMPHASIS / np.maximum((classes ** (EMPHASIS - 1)).sum(axis=0), 1e-9)
        energy = loud.mean(axis=1)
        total += weight * energy / max(float(energy.sum()), 1e-12)
    return total, tuning


def harmony(signal: np.ndarray, tuning: float, *, low: bool = False) -> np.ndarray:
    """Chroma [12, T] with a frame every CHROMA_HOP samples, for changes of harmony: four octaves from C3, or from C2 if
    `low`, since the filters of lower notes are too long to tell when a chord changes."""
    import librosa
    chroma = librosa.feature.chroma_cqt(y=signal, sr=SAMPLERATE, hop_length=CHROMA_HOP, tuning=tuning, norm=None,
                                        fmin=librosa.note_to_hz("C2" if low else "C3"), n_octaves=4, bins_per_octave=12)
    return chroma.astype(np.float64)


def estimate(energy: np.ndarray, tuning: float) -> Tonality:
    """Key signature from the energy [12] of the pitch classes of a song."""
    if not energy.sum() > 0:
        return Tonality(0, 0., 0., "no pitched sounds")
    energy = energy / energy.sum()
    scores = np.array([energy[[(tonic + step) % 12 for step in MAJOR]].sum() for tonic in range(12)])
    order = np.argsort(scores)
    margin = float(scores[order[-1]] - scores[order[-2]])
    return Tonality(int(order[-1]), tuning, margin, "the key is unsure" if margin < LEAST_MARGIN else "")
