"""Plan of a song, shared by its stems: tempo, swing, key, chords, form and levels.

A stem is rendered from the plan and its own random generator, so a change to the drums does not change the voice of the
same song.
"""

import math
import typing as tp
from dataclasses import dataclass

import numpy as np

from ...schema import SOURCES

SAMPLERATE = 44100                      # Hz, that of MUSDB18-HQ
STEPS = 16                              # sixteenth notes of a 4/4 bar
SECTION_BARS = 4

_SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
_PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 4), (0, 0, 3, 4), (1, 4, 0, 0), (0, 6, 5, 4),
                 (0, 2, 3, 4), (3, 0, 4, 5), (0, 3, 0, 4), (0, 6, 3, 0), (5, 4, 3, 4))


@dataclass(frozen=True)
class SongPlan:
    """Plan of one song, at 44.1 kHz and in 4/4 time. Times are in samples, pitches in MIDI numbers (60 is middle C, 69
    is 440 Hz). Bars are counted from 0, steps are sixteenth notes."""
    frames: int
    tempo: float                        # beats (quarter notes) per minute
    swing: float                        # delay of every second sixteenth, in sixteenths
    key: int                            # pitch class of the tonic, 0 is C
    mode: str
    progressions: tp.Tuple[tp.Tuple[int, ...], ...]   # scale degree of the chord of each bar, per kind of section
    register: float                     # lowest note of the voice; the accompaniment is in the same range
    levels: tp.Mapping[str, float]      # dB of each stem about the song's mean stem level

    @property
    def step_frames(self) -> float:
        """Length of a sixteenth note in samples."""
        return 60 / self.tempo / 4 * SAMPLERATE

    @property
    def bars(self) -> int:
        """Number of bars, at least that of the song's length; the last one may be truncated."""
        return math.ceil(self.frames / (STEPS * self.step_frames))

    def at(self, bar: int, step: float) -> int:
        """Sample at which `step` of `bar` begins (sixteenth notes from 0; fractions allowed). Odd sixteenths are
        delayed by the swing."""
        late = self.swing if step % 2 == 1 else 0.
        return round((bar * STEPS + step + late) * self.step_frames)

    def section(self, bar: int) -> int:
        """Kind of section that `bar` belongs to: 0 for a verse, 1 for a chorus; they alternate every four bars."""
        return bar // SECTION_BARS % 2

    def degree(self, bar: int) -> int:
        """Scale degree of the chord of `bar`, from 0, the tonic, to 6."""
        progression = self.progressions[self.section(bar)]
        return progression[bar % len(progression)]

    def pitch(self, degree: int) -> int:
        """MIDI number of a scale degree, where degree 0 is the tonic in the lowest octave (MIDI 0 to 11) and 7 the
        tonic above it."""
        scale = _SCALES[self.mode]
        return self.key + 12 * (degree // len(scale)) + scale[degree % len(scale)]

    def scale(self, low: float, high: float) -> tp.List[int]:
        """All pitches of the key from `low` to `high`, both included, ascending."""
        pitches = (self.pitch(degree) for degree in range(80))
        return [pitch for pitch in pitches if low <= pitch <= high]

    def chord(self, bar: int, center: float, notes: int = 3) -> tp.List[int]:
        """`notes` tones of the chord of `bar` (root, third, fifth, then seventh, ninth), each in the octave nearest to
        the pitch `center`, ascending."""
        tones = (self.pitch(self.degree(bar) + 2 * third) for third in range(notes))
        return sorted(tone + 12 * round((center - tone) / 12) for tone in tones)

    def root(self, bar: int, low: float) -> int:
        """Root of the chord of `bar` in the octave that begins at the pitch `low`: the lowest one that is not below
        it."""
        root = self.pitch(self.degree(bar))
        return root + 12 * math.ceil((low - root) / 12)


def draw_plan(rng: np.random.Generator, seconds: float) -> SongPlan:
    """Plan of a song of `seconds`, drawn from `rng`. Stem levels are uniform within +-3 dB."""
    first, second = rng.choice(len(_PROGRESSIONS), 2, replace=False)
    levels = rng.uniform(-3, 3, len(SOURCES))
    return SongPlan(
        frames=round(seconds * SAMPLERATE),
        tempo=float(rng.uniform(78, 148)),
        swing=float(rng.choice([0., rng.uniform(0.08, 0.33)])),
        key=int(rng.integers(12)),
        mode=str(rng.choice(list(_SCALES))),
        register=float(rng.uniform(43, 64)),
        progressions=(_PROGRESSIONS[first], _PROGRESSIONS[second]),
        levels={source: float(level) for source, level in zip(SOURCES, levels)})
