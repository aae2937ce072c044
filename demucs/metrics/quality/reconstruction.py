"""Reconstruction error of the mixture from the estimates, and level of each estimate in the mixture.

For a perfect separation, the residual r = mixture - sum of estimates is silent. The converse does not hold: any
division of the mixture has no residual, for instance a quarter of it for each of four sources. The level of an estimate
in the mixture is not a quality measure, but a baseline for quality measures: a source that is loud in its mixture has a
higher SDR from the start.
"""

import typing as tp

import numpy as np

from .spectra import energy, ratio_in_decibels, same_length, signals

FLOOR = -80.       # dB: residual of rounding to 16 bits


class Reconstruction(tp.NamedTuple):
    """Size of the residual r: mean |r| and mean r^2 over channels and samples, as in training losses; and the energy of
    r relative to that of the mixture, in dB."""
    l1: float
    mse: float
    relative: float


def reconstruction(estimates: np.ndarray, mixture: np.ndarray) -> Reconstruction:
    """Size of the residual of a mixture [A, L] minus the sum of its estimates [S, A, L]; lower is better.

    `relative` is at least -80 dB (0 dB for silent estimates); NaN for a silent mixture.

    Raises:
        AudioError: for inconsistent shapes, no samples, or samples that are not finite.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    rest = mixture - estimates.sum(axis=0, dtype=np.float64)
    power = energy(rest)
    relative = ratio_in_decibels(power, energy(mixture), FLOOR)
    return Reconstruction(float(np.abs(rest).mean()), float(power / rest.size), float(relative))


def level(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Energy of each estimate [S, A, L] relative to that of the mixture [A, L], in dB: [S], at least -80.

    NaN for a silent mixture.

    Raises:
        AudioError: as `reconstruction`.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    return ratio_in_decibels(energy(estimates), energy(mixture), FLOOR)
