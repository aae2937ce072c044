"""Agreement: how alike several separations of one song are, where only something that should not matter was changed.

What a model does not know, it decides by accident, so its answers scatter; what it knows, it repeats (for ensembles of
networks: B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive uncertainty estimation using
deep ensembles", NeurIPS 2017). The passes may differ in the shift of the shift trick (where a second one costs nothing:
it is computed anyway), in the checkpoint, or in the mixture, made anew from estimates (`evaluation.passes`).

An answer that is always the same is not therefore right: the mixture given out as every source agrees perfectly.
"""

import numpy as np

from ...errors import AudioError
from .spectra import energy, signals

LIMIT = 100.     # dB: passes that differ by rounding errors or not at all


def agreement(passes: np.ndarray) -> np.ndarray:
    """Signal-to-scatter ratio of each source over K >= 2 passes [K, S, A, L], in dB: [S], within +-100.

    10 log10( |mean|^2 / V ), with V the variance of a single pass, |pass - mean|^2 summed over passes and divided by
    K - 1: what an SDR would be if passes scattered around the truth. Higher is better. NaN where all passes are silent.

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
