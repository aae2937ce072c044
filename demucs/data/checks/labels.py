"""Plausibility of labels: whether a stem resembles the estimate of its source, or rather that of another one."""

import typing as tp

import numpy as np
from scipy.optimize import linear_sum_assignment

from .thresholds import LABEL_LEAD, LABEL_MATCH

QUIET = 1e-3             # energy of a stem or an estimate relative to the loudest one: it has no label to judge


class Doubt(tp.NamedTuple):
    """A stem that resembles the estimate of `other` (correlation `with_other`) more than that of its own source
    (`with_own`)."""
    source: str
    other: str
    with_own: float
    with_other: float


def correlations(stems: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Correlation, at least 0, of each of `stems` [S, ...] with each of `estimates` [S, ...]: [S, S]. It is 0 for
    silent ones."""
    first, second = (each.reshape(len(each), -1).astype(np.float64) for each in (stems, estimates))
    energies = [np.square(each).sum(axis=1) for each in (first, second)]
    scale = np.sqrt(np.outer(*energies))
    heard = np.logical_and.outer(*(each > QUIET * max(each.max(), 1e-30) for each in energies))
    return np.where(heard, np.maximum(first @ second.T, 0.) / np.where(scale > 0, scale, 1.), 0.)


def doubts(sources: tp.Sequence[str], stems: np.ndarray, estimates: np.ndarray) -> tp.List[Doubt]:
    """Stems whose label is implausible, by the assignment of stems to estimates with the largest sum of correlations.

    Args:
        sources: names, S of them.
        stems, estimates: [S, A, L] of the same excerpt, in the order of `sources`.
    """
    alike = correlations(stems, estimates)
    rows, columns = linear_sum_assignment(-alike)
    found = []
    for row, column in zip(rows, columns):
        own, other = float(alike[row, row]), float(alike[row, column])
        if row != column and other >= LABEL_MATCH and other - own >= LABEL_LEAD:
            found.append(Doubt(sources[row], sources[column], own, other))
    return found
