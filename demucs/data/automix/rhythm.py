"""Tempo and bars of a song, from the onsets of its stems and the changes of its harmony.

Onset strengths and chroma are those of librosa. A song is assumed to have one steady tempo and bars of four beats;
where that does not explain its onsets well, or where another reading explains them nearly as well, the result has
doubts, and the song is not used. The reading is chosen in two steps:

- The tempo is the one at which onsets repeat with the bar, half bar, beat, eighth and sixteenth: the sum of the power
  of the onset strength at these frequencies, in the spectrum of the whole song, which resolves a hundredth of a beat
  per minute. Tempos are sought within one octave, so there is no octave error: half time and double time are the same
  tempo.
- Onsets on the grid of eighths give the position of the grid. Which of the eight eighths of a bar is the first is
  decided by the changes of harmony, the back beat, the bass drum and the bass (`PATTERNS`).
"""

import typing as tp
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

SAMPLERATE = 22050          # Hz of the analysed signals
HOP, WINDOW = 256, 1024     # samples, for onsets
CHROMA_HOP = 512            # samples, for changes of harmony
EIGHTHS = 8                 # of a bar
SLOWEST, FASTEST = 76., 152.    # beats per minute
LEVELS = {0.25: 0.5, 0.5: 0.5, 1: 1., 2: 1., 4: 1.}    # weight of each multiple of the beat's frequency
NEIGHBOURS = 0.03           # relative distance within which two tempos count as one
WIDTH = 0.012               # seconds, of the kernel that smooths folded onsets
PASSAGE = 10.               # seconds, for the steadiness of the tempo
# Where in a bar each feature is expected to be high, by eighths, and its weight. Chords change on the first beat, the
# snare drum plays on the second and fourth, bass drum and bass on the first and third. Changes of harmony are measured
# in each stem, between two eighths (a quarter before and after) and between half bars.
_QUARTER, _HALF = (1., .4, 0., 0., 0., 0., 0., .4), (1., .65, .25, .08, .05, .1, .4, .75)
_DOWN = (1., 0., .3, .1, .6, .1, .3, 0.)
PATTERNS: tp.Dict[str, tp.Tuple[float, tp.Tuple[float, ...]]] = {
    "bass, 2": (1., _QUARTER), "other, 2": (1., _QUARTER), "vocals, 2": (0.5, _QUARTER),
    "bass, 4": (0.5, _HALF), "other, 4": (0.5, _HALF),
    "bass drum": (0.5, _DOWN), "bass onsets": (0.25, _DOWN), "back beat": (0.4, (.3, 0., 1., 0., .3, 0., 1., 0.)),
}
# A reading is sure if ...
LEAST_PULSE = 0.08          # its power at the metrical frequencies, of 1 for a pure pulse train, is at least this
RIVAL = 0.75                # no other tempo has more than this part of its power
LEAST_MARGIN = 0.4          # its bar position explains the features better than any other, by this sum of correlations
MOST_WANDER = 0.02          # seconds: in three of four passages the grid lies within this distance of its position


@dataclass(frozen=True)
class Rhythm:
    """Tempo and bars of a song.

    Attributes:
        tempo: beats per minute, from SLOWEST to FASTEST.
        first_beat: seconds from the beginning of the song to its first bar line.
        pulse, rival, margin, wander: how sure that is, see LEAST_PULSE, RIVAL, LEAST_MARGIN, MOST_WANDER.
        doubt: reason why the estimate should not be used; "" if there is none.
    """
    tempo: float
    first_beat: float
    pulse: float = 0.
    rival: float = 0.
    margin: float = 0.
    wander: float = 0.
    doubt: str = ""

    @property
    def bar(self) -> float:
        """Length of a bar in seconds."""
        return 240 / self.tempo


def onsets(signal: Array, low: float = 0., high: float = SAMPLERATE / 2) -> Array:
    """Onset strength [T] of a mono signal between two frequencies in Hz, scaled to an RMS of 1; zeros for silence."""
    import librosa
    power = np.abs(librosa.stft(signal, n_fft=WINDOW, hop_length=HOP)) ** 2
    bins = librosa.fft_frequencies(sr=SAMPLERATE, n_fft=WINDOW)
    if high < 1000:
        bands = power[(bins >= low) & (bins <= high)]
    else:
        bands = librosa.feature.melspectrogram(S=power, sr=SAMPLERATE, n_mels=40, fmin=low, fmax=high)
    decibels = librosa.power_to_db(bands, ref=max(float(bands.max()), 1e-10), top_db=60)
    strength = librosa.onset.onset_strength(S=decibels, sr=SAMPLERATE, hop_length=HOP, lag=2, center=False)
    strength = np.maximum(strength - np.median(strength), 0).astype(np.float64)
    return strength / max(float(np.sqrt(np.mean(strength ** 2))), 1e-9)


def estimate(drums: tp.Optional[Array], bass: tp.Optional[Array], tonal: tp.Optional[Array],
             harmonies: tp.Mapping[str, Array]) -> Rhythm:
    """Tempo and bars of a song from mono signals [L] at SAMPLERATE, None where the song has no such stem.

    Args:
        drums: of unpitched stems.
        bass: of the bass.
        tonal: of the other pitched stems.
        harmonies: chroma [12, T] with a frame every CHROMA_HOP samples, of "bass", "other" and "vocals" or some of
        them.
    """
    strengths: tp.Dict[str, Array] = {}
    if drums is not None:
        strengths.update({"bass drum": onsets(drums, 30, 130), "back beat": onsets(drums, 300, 11000)})
    if bass is not None:
        strengths["bass onsets"] = onsets(bass)
    together = [onsets(signal) * weight for signal, weight in ((drums, 1.), (tonal, 0.5)) if signal is not None]
    together += [strengths["bass onsets"] * 0.5] if bass is not None else []
    pulse = np.sum(together, axis=0)
    if not np.any(pulse):
        return Rhythm(SLOWEST, 0., doubt="no onsets")
    tempo, power, rival = _tempo(pulse)
    eighth = 30 / tempo * SAMPLERATE / HOP
    position = _position(pulse, eighth)
    features = {name: _on_grid(strength, position, eighth) for name, strength in strengths.items()}
    for name, chroma in harmonies.items():
        for span in (2, 4):
            if f"{name}, {span}" in PATTERNS:
                frames = HOP / CHROMA_HOP
                features[f"{name}, {span}"] = _changes(chroma, position * frames, eighth * frames, span)
    first, margin = _bar_position(features)
    seconds = (position + first * eighth) * HOP / SAMPLERATE
    bar = 240 / tempo
    seconds -= bar * np.floor((seconds + 0.05) / bar)       # an onset at the very beginning may be found before it
    wander = _wander(pulse, position, eighth)
    return Rhythm(float(tempo), float(seconds), float(power), float(rival), float(margin), float(wander),
                  _doubt(power, rival, margin, wander))


def _doubt(pulse: float, rival: float, margin: float, wander: float) -> str:
    if pulse < LEAST_PULSE:
        return "no clear pulse"
    if rival > RIVAL:
        return "two tempos are as likely"
    if wander > MOST_WANDER:
        return "the tempo is not steady"
    return "the first beat is unsure" if margin < LEAST_MARGIN else ""


def _tempo(pulse: Array) -> tp.Tuple[float, float, float]:
    """(tempo in beats per minute, its power at the metrical frequencies, the largest one of another tempo by that)."""
    rate = SAMPLERATE / HOP
    size = 1 << int(np.ceil(np.log2(len(pulse) * 8)))
    centred = pulse - pulse.mean()
    scale = 2 / (np.sum(pulse ** 2) * len(pulse))
    spectrum = scale * np.abs(np.fft.rfft(centred, size)) ** 2
    tempos = np.exp(np.arange(np.log(SLOWEST), np.log(FASTEST), min(1e-4, 2. / len(pulse))))
    places = tempos / 60 / rate * size
    scores = sum(weight * np.interp(places * level, np.arange(len(spectrum)), spectrum)
                 for level, weight in LEVELS.items())
    best = int(np.argmax(scores))
    distance = np.abs(np.log(tempos / tempos[best]))
    others = scores[(distance > NEIGHBOURS) & (np.log(2) - distance > NEIGHBOURS)]
    # The exact place of the peak, from the spectrum at frequencies between those of the transform.
    step = 1 / (8 * len(pulse) / rate) / (tempos[best] / 60 * 4)
    fine = tempos[best] * (1 + step * np.linspace(-1, 1, 41))
    time = np.arange(len(pulse)) / rate
    exact = [sum(weight * scale * abs(np.dot(centred, np.exp(-2j * np.pi * tempo / 60 * level * time))) ** 2
                 for level, weight in LEVELS.items()) for tempo in fine]
    place = int(np.argmax(exact))
    return float(fine[place]), float(exact[place]), float(others.max() / exact[place])


def _folded(pulse: Array, eighth: float) -> Array:
    """Mean onset strength in 200 sections of an eighth of `eighth` frames, smoothed."""
    sections = 200
    place = (np.arange(len(pulse)) / eighth % 1 * sections).astype(int)
    sums, counts = np.bincount(place, pulse, sections), np.bincount(place, minlength=sections)
    mean = sums / np.maximum(counts, 1)
    offset = (np.arange(sections) - sections // 2) / sections * eighth * HOP / SAMPLERATE
    kernel = np.exp(-0.5 * (offset / WIDTH) ** 2)
    return np.real(np.fft.ifft(np.fft.fft(mean) * np.fft.fft(np.fft.ifftshift(kernel / kernel.sum()))))


def _position(pulse: Array, eighth: float) -> float:
    """Frames from the beginning to the first eighth."""
    folded = _folded(pulse, eighth)
    return float((np.argmax(folded) + 0.5) / len(folded) * eighth)


def _wander(pulse: Array, position: float, eighth: float) -> float:
    """Third quartile of the distance in seconds between the grid in a passage and that of the whole song."""
    count = max(1, round(len(pulse) * HOP / SAMPLERATE / PASSAGE))
    edges = np.linspace(0, len(pulse), count + 1).astype(int)
    distances = []
    for start, stop in zip(edges, edges[1:]):
        passage = pulse[start:stop]
        if np.mean(passage ** 2) > 0.01 * np.mean(pulse ** 2):        # the stems may all pause there
            difference = (start + _position(passage, eighth) - position) / eighth
            distances.append(abs(difference - round(difference)) * eighth * HOP / SAMPLERATE)
    return float(np.quantile(distances, 0.75)) if distances else 0.


def _on_grid(strength: Array, position: float, eighth: float) -> Array:
    """Largest onset strength about each eighth [K]."""
    near = round(0.04 * SAMPLERATE / HOP)
    centres = np.round(np.arange(position, len(strength) - 1, eighth)).astype(int)
    padded = np.pad(strength, near)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1)[centres].max(axis=1)


def _changes(chroma: Array, position: float, eighth: float, span: int) -> Array:
    """Change of harmony at each eighth [K]: cosine distance of the mean chroma of the `span` eighths before and
    after."""
    scaled = np.log1p(5 * chroma / max(float(chroma.mean()), 1e-12))
    bounds = np.arange(position, chroma.shape[1], eighth).astype(int)
    sums = np.pad(np.cumsum(scaled, axis=1), ((0, 0), (1, 0)))
    changes = np.zeros(max(0, len(bounds) - 1))
    for place in range(span, len(changes) - span + 1):
        left, middle, right = bounds[place - span], bounds[place], bounds[place + span]
        before, after = sums[:, middle] - sums[:, left], sums[:, right] - sums[:, middle]
        changes[place] = 1 - before @ after / max(1e-12, float(np.sqrt(before @ before * (after @ after))))
    return changes


def _bar_position(features: tp.Mapping[str, Array]) -> tp.Tuple[int, float]:
    """(number of the eighth on which the bar begins, margin to the best other one)."""
    scores = np.zeros(EIGHTHS)
    for name, values in features.items():
        if len(values) < EIGHTHS:
            continue
        profile = np.array([values[place::EIGHTHS].mean() for place in range(EIGHTHS)])
        weight, pattern = PATTERNS[name]
        if profile.std() > 1e-9:
            scores += [weight * np.corrcoef(np.roll(profile, -place), pattern)[0, 1] for place in range(EIGHTHS)]
    order = np.argsort(scores)
    return int(order[-1]), float(scores[order[-1]] - scores[order[-2]])
