"""Reconstruction: whether the estimates add up to the mixture, and how loud each is in it.

A complete separation adds up: r = mixture - sum of estimates is silent. The converse does not hold: any way of dealing
out the mixture adds up, a quarter of it to each of four sources for instance. The level of an estimate in the mixture
is no measure of quality at all, but the first thing to compare one with: a source that is loud in its mixture starts
with a higher SDR, whatever is done to it.
"""

import typing as tp

import numpy as np

from .spectra import energy, ratio_in_decibels, same_length, signals

FLOOR = -80.       # dB: what rounding to 16 bits leaves


class Reconstruction(tp.NamedTuple):
    """How far the estimates are from adding up: mean |r| and mean r^2 over channels and samples, in units of the
    samples and of their squares, as training losses have them; and the energy of r by that of the mixture, in dB."""
    l1: float
    mse: float
    relative: float


def reconstruction(estimates: np.ndarray, mixture: np.ndarray) -> Reconstruction:
    """What remains of a mixture [A, L] when all its estimates [S, A, L] are taken away; lower is better.

    `relative` lies between -80 dB and what the estimates make of it (0 dB where they are silent); NaN for a silent
    mixture.

    Raises:
        AudioError: for shapes that do not fit, no samples, or samples that are not finite.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    rest = mixture - estimates.sum(axis=0, dtype=np.float64)
    power = energy(rest)
    relative = ratio_in_decibels(power, energy(mixture), FLOOR)
    return Reconstruction(float(np.abs(rest).mean()), float(power / rest.size), float(relative))


def level(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Energy of each estimate [S, A, L] by that of the mixture [A, L], in dB: [S], at least -80.

    NaN for a silent mixture.

    Raises:
        AudioError: as `reconstruction`.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    return ratio_in_decibels(energy(estimates), energy(mixture), FLOOR)
