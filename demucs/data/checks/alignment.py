"""Lags of stems that do not sum to the mixture: the shifts with which they would."""

import typing as tp

import numpy as np
import scipy.fft

WORTH = 0.8          # factor of the residual's energy that a shift must reach to be taken
EXPLAINED = 6.       # dB by which all shifts together must lower the residual
STILL = 1e-3         # energy of a stem relative to the mixture, below which it has no lag


class Alignment(tp.NamedTuple):
    """Lags in samples by stem, 0 for most: positive if the stem is late, compared with the mixture. `before` and
    `after` are the residuals in dB relative to the mixture, without and with the shifts."""
    lags: tp.Dict[str, int]
    before: float
    after: float


def align(mixture: np.ndarray, stems: tp.Mapping[str, np.ndarray], most: int) -> Alignment:
    """Lags of at most `most` samples that explain the residual of an excerpt. Without such lags, all are 0.

    Args:
        mixture: [L], mono.
        stems: [L] each, mono. They are shifted against the mixture without its first and last `most` samples.
        most: at least 0, less than L / 2.
    """
    names = list(stems)
    search = _Search(mixture, [stems[name] for name in names], most)
    before = search.residual()
    search.shift_together()
    for _ in range(2 * len(names)):
        if not search.shift_best():
            break
    after = search.residual()
    level = max(search.energy, 1e-30)
    lags = dict(zip(names, search.lags))
    if not any(lags.values()) or after > before * 10 ** (-EXPLAINED / 10):
        lags, after = dict.fromkeys(names, 0), before
    return Alignment(lags, *(10 * float(np.log10(max(energy / level, 1e-20))) for energy in (before, after)))


class _Search:
    """Coordinate descent over the lags of all stems."""

    def __init__(self, mixture: np.ndarray, stems: tp.Sequence[np.ndarray], most: int):
        # Without DC offsets, which are other findings.
        self.most, self.stems = most, [stem - np.mean(stem, dtype=np.float64) for stem in stems]
        self.inner = (mixture - np.mean(mixture, dtype=np.float64))[most:len(mixture) - most]
        self.energy = float(np.dot(self.inner, self.inner))
        self.lags = [0] * len(stems)
        self._size = scipy.fft.next_fast_len(len(mixture), real=True)

    def _shifted(self, stem: np.ndarray, lag: int) -> np.ndarray:
        """`stem` moved forward by `lag` samples, so that one that was late fits."""
        start = self.most + lag
        return stem[start:start + len(self.inner)]

    def _difference(self, without: tp.Optional[int] = None) -> np.ndarray:
        rest = self.inner.copy()
        for number, (stem, lag) in enumerate(zip(self.stems, self.lags)):
            if number != without:
                rest -= self._shifted(stem, lag)
        return rest

    def residual(self) -> float:
        rest = self._difference()
        return float(np.dot(rest, rest))

    def _best(self, target: np.ndarray, stem: np.ndarray) -> tp.Tuple[int, float]:
        """(lag, energy of the difference) with which `stem` fits `target` best."""
        spectrum = scipy.fft.rfft(stem, self._size) * np.conj(scipy.fft.rfft(target, self._size))
        product = scipy.fft.irfft(spectrum, self._size)
        correlation = product[:2 * self.most + 1]       # at lags from -most to most
        sums = np.r_[0., np.cumsum(np.square(stem))]
        energies = sums[len(target):len(target) + 2 * self.most + 1] - sums[:2 * self.most + 1]
        errors = float(np.dot(target, target)) - 2 * correlation + energies
        place = int(errors.argmin())
        return place - self.most, float(errors[place])

    def shift_together(self) -> None:
        """One lag for all stems, as of a mixture with a delay, where it explains most of the residual."""
        lag, error = self._best(self.inner, np.sum(self.stems, axis=0))
        if lag and error < self.residual() * 10 ** (-EXPLAINED / 10):
            self.lags = [lag] * len(self.lags)

    def shift_best(self) -> bool:
        """Give that stem its best lag which lowers the residual most. Returns whether there was any."""
        current, best = self.residual(), (0., 0, 0)
        for number, stem in enumerate(self.stems):
            if float(np.dot(stem, stem)) < STILL * self.energy:
                continue
            lag, error = self._best(self._difference(number), stem)
            if lag != self.lags[number] and error < WORTH * current:
                best = max(best, (current - error, number, lag))
        gained, number, lag = best
        if gained > 0:
            self.lags[number] = lag
        return gained > 0
