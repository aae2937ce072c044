"""Whether the stems of a song sum to its mixture, and whether two of them are the same signal."""

import hashlib
import itertools
import typing as tp

import numpy as np

from .meter import decibels

SAME = 0.999             # correlation of two stems that are copies, of any level
PRESENT = 1e-2           # energy of the other stems relative to the mixture: it cannot equal one stem
QUIET = 1e-9             # mean square of a signal that counts as silent here, -90 dBFS


class MixMeter:
    """Residual of a mixture minus its stems, and correlations, accumulated block by block.

    Args:
        sources: names of the stems.
        with_mixture: whether there is a mixture to compare them with.
    """

    def __init__(self, sources: tp.Sequence[str], *, with_mixture: bool):
        self.sources, self.with_mixture = list(sources), with_mixture
        self.frames = 0
        self.levels: tp.List[float] = []              # mean square of the residual of each block
        self.powers: tp.Dict[str, tp.List[float]] = {source: [] for source in sources}    # mean square of each block
        self._energies: tp.Optional[np.ndarray] = None     # of the residual, per channel
        self._sums: tp.Optional[np.ndarray] = None
        self._mixture: tp.Optional[np.ndarray] = None
        size = len(self.sources) + 1                  # the last is the mixture
        self.products = np.zeros((size, size))
        self._digests = {source: hashlib.blake2b(digest_size=12) for source in sources}

    def add(self, stems: tp.Mapping[str, np.ndarray], mixture: tp.Optional[np.ndarray]) -> np.ndarray:
        """Add blocks [A, L] of the same shape. Returns the mixture, or the sum of the stems where there is none."""
        ordered = [stems[source] for source in self.sources]
        total = ordered[0]
        for wav in ordered[1:]:
            total = total + wav
        song = total if mixture is None else mixture
        self.frames += song.shape[1]
        flat = [np.ascontiguousarray(wav).ravel() for wav in (*ordered, song)]
        for first, second in itertools.combinations_with_replacement(range(len(flat)), 2):
            self.products[first, second] += float(np.dot(flat[first], flat[second]))
        for source, wav in zip(self.sources, flat):
            power = float(np.dot(wav, wav)) / len(wav)
            self.powers[source].append(power)
            self._digests[source].update(np.float64(power).tobytes())
        if mixture is not None:
            rest = mixture - total
            energies = np.array([np.dot(row, row) for row in rest], np.float64)
            sums = rest.sum(axis=1, dtype=np.float32).astype(np.float64)
            loud = np.array([np.dot(row, row) for row in mixture], np.float64)
            self._energies = energies if self._energies is None else self._energies + energies
            self._sums = sums if self._sums is None else self._sums + sums
            self._mixture = loud if self._mixture is None else self._mixture + loud
            self.levels.append(float(energies.sum()) / rest.size)
        return song

    def residual(self) -> tp.Optional[tp.Tuple[float, int]]:
        """(power of mixture minus stems relative to the mixture in dB, channel), of the channel where it is largest. DC
        offsets do not count. None without a mixture, or if it is silent."""
        if self._energies is None or self._mixture is None or self._sums is None or not self.frames:
            return None
        variances = np.maximum(self._energies - np.square(self._sums) / self.frames, 0.)
        if self._mixture.sum() / self.frames < QUIET:
            return None
        # Relative to the mean over channels: one may be silent.
        level = self._mixture.mean()
        ratios = variances / level
        channel = int(ratios.argmax())
        return decibels(float(ratios[channel])), channel

    @property
    def residual_power(self) -> float:
        """Mean square of the residual."""
        return 0. if self._energies is None or not self.frames else float(self._energies.mean()) / self.frames

    def gains(self) -> tp.Tuple[tp.Dict[str, float], float]:
        """(gain of each stem in the mixture by least squares, residual with these gains in dB). Silent stems have the
        gain 1."""
        powers = np.diag(self.products)
        active = [number for number in range(len(self.sources)) if powers[number] > QUIET * self.frames]
        gains = {source: 1. for source in self.sources}
        full = np.triu(self.products) + np.triu(self.products, 1).T
        if not active or powers[-1] <= 0:
            return gains, 0.
        matrix, right = full[np.ix_(active, active)], full[active, -1]
        solution = np.linalg.lstsq(matrix, right, rcond=1e-9)[0]
        gains.update({self.sources[number]: float(gain) for number, gain in zip(active, solution)})
        rest = powers[-1] - 2 * solution @ right + solution @ matrix @ solution
        return gains, decibels(float(rest) / float(powers[-1]))

    def same(self) -> tp.List[tp.Tuple[str, str]]:
        """Pairs of stems with the same signal, of any level and polarity; "mixture" instead of the second for a stem
        that is a copy of the mixture although there are others."""
        powers = np.diag(self.products)
        pairs = []
        for first, second in itertools.combinations(range(len(powers)), 2):
            if min(powers[first], powers[second]) <= QUIET * self.frames:
                continue
            alike = abs(self.products[first, second]) / np.sqrt(powers[first] * powers[second])
            if second == len(self.sources):
                others = sum(powers[:-1]) - powers[first]
                if self.with_mixture and alike >= SAME and others > PRESENT * powers[-1]:
                    pairs.append((self.sources[first], "mixture"))
            elif alike >= SAME:
                pairs.append((self.sources[first], self.sources[second]))
        return pairs

    def digests(self) -> tp.Dict[str, str]:
        """Hash of the samples of each stem, "" for silent ones."""
        powers = np.diag(self.products)
        return {source: self._digests[source].hexdigest() if powers[number] > QUIET * self.frames else ""
                for number, source in enumerate(self.sources)}
