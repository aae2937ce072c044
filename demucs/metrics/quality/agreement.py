"""Agreement: similarity of several separations of one song that differ in a condition that should not matter.

Where a model is uncertain, its estimates scatter; where it is certain, they repeat (for ensembles of networks:
B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive uncertainty estimation using deep
ensembles", NeurIPS 2017). The passes may differ in the shift of the shift trick (where the second pass is computed
anyway), in the checkpoint, or in the mixture, which may be a remix of the estimates (`evaluation.passes`).

Agreement does not imply correctness: a separator that returns the mixture as every source agrees perfectly.
"""

import numpy as np

from ...errors import AudioError
from .spectra import energy, signals

LIMIT = 100.     # dB: passes that are equal up to rounding errors


def agreement(passes: np.ndarray) -> np.ndarray:
    """Signal-to-scatter ratio of each source over K >= 2 separations of one song, `passes` [K, S, A, L], in dB: [S],
    within +-100. Higher is better.

    10 log10( |mean|^2 / V ), where V is the variance of a single pass: |pass - mean|^2 summed over passes and divided
    by K - 1. It would be the SDR if passes scattered around the true source. NaN if all passes are silent.

    Raises:
        AudioError: for another shape or a single pass, no samples, or samples that are not finite.
    """
    passes = signals(passes, "agreement of passes", dimensions=4)
    if len(passes) < 2:
        raise AudioError("agreement is measured between passes: give at least two")
    mean = passes.mean(axis=0, dtype=np.float64)
    scatter = sum(energy(single - mean) for single in passes) / (len(passes) - 1)
    power = energy(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(10 * np.log10(power / scatter), -LIMIT, LIMIT)      # 0 / 0 stays NaN
