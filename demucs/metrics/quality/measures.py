"""List of all quality measures without references, and their computation for a song.

`better` is the expectation before any comparison with true scores: 1 if a higher value should mean a better separation,
-1 if a lower value should.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np

from ...errors import AudioError
from .agreement import agreement
from .decisiveness import decisiveness
from .harmonicity import hnr
from .leakage import leakage
from .musical_noise import kurtosis_ratio
from .percussive import hpr
from .reconstruction import level, reconstruction

HNR_SETTINGS = {"minimum_pitch": 40., "time_step": 0.1}     # lowest string of a bass; overlapping frames of 0.225 s


@dataclass(frozen=True)
class Measure:
    """Quality measure without references. `better` is 1 if a higher value should mean a better separation, -1 if a
    lower value should. `needs` is the input it requires: "estimates" (nothing else), "mixture", "model" (repeated
    separations), or "bag" (of several models)."""
    key: str
    label: str          # with its unit, for a table or an axis
    better: int
    needs: str


MEASURES: tp.Dict[str, Measure] = {measure.key: measure for measure in (
    Measure("hnr", "harmonics-to-noise ratio (dB)", 1, "estimates"),
    Measure("hpr", "harmonic-to-percussive ratio (dB)", 1, "estimates"),
    Measure("reconstruction", "reconstruction loss (dB)", -1, "mixture"),
    Measure("level", "level in the mixture (dB)", 1, "mixture"),
    Measure("leakage", "leakage between estimates (dB)", -1, "estimates"),
    Measure("kurtosis_ratio", "musical noise, kurtosis ratio (dB)", -1, "mixture"),
    Measure("decisiveness", "decisiveness of the shares (dB)", 1, "mixture"),
    Measure("shift_agreement", "agreement of two shifts (dB)", 1, "model"),
    Measure("remix_agreement", "agreement after remixing (dB)", 1, "model"),
)}
# With a measure that only bags allow, which was not compared with true scores.
EVERY_MEASURE: tp.Dict[str, Measure] = {
    **MEASURES, "model_agreement": Measure("model_agreement", "agreement of the models of a bag (dB)", 1, "bag")}
SEVERAL = ("model", "bag")      # what measures of several passes need

Values = tp.Dict[str, tp.List[tp.Optional[float]]]


def measure_song(estimates: np.ndarray, samplerate: int, *, mixture: tp.Optional[np.ndarray] = None,
                 passes: tp.Optional[tp.Mapping[str, np.ndarray]] = None,
                 wanted: tp.Optional[tp.Collection[str]] = None) -> Values:
    """All measures of one song that the given input allows: {measure: one value per source}, in the order of
    `EVERY_MEASURE`.

    A value is None if it is undefined, as for a silent estimate. Measures between estimates (leakage, decisiveness) are
    omitted for a single estimate. Reconstruction has the same value for all sources.

    Args:
        estimates: [S, A, L].
        samplerate: sample rate in Hz.
        mixture: [A, L], for the measures that need it; None: they are omitted.
        passes: several separations [K, S, A, L] for each measure that needs a model, {measure: passes}; see
            `evaluation.passes`.
        wanted: keys of the measures to be computed; None: all.

    Raises:
        AudioError: for inconsistent shapes, samples that are not finite, a song shorter than a quarter of a second, or
            passes for an unknown measure.
    """
    estimates = np.asarray(estimates)
    if estimates.ndim != 3:
        raise AudioError(f"estimates of a song are [sources, channels, samples], got the shape {estimates.shape}")
    several_estimates = len(estimates) > 1
    computed: tp.Dict[str, tp.Callable[[], tp.Any]] = {
        "hnr": lambda: [hnr(estimate, samplerate, **HNR_SETTINGS) for estimate in estimates],
        "hpr": lambda: [hpr(estimate) for estimate in estimates]}
    if mixture is not None:
        computed["reconstruction"] = lambda: [reconstruction(estimates, mixture).relative] * len(estimates)
        computed["level"] = lambda: level(estimates, mixture)
        computed["kurtosis_ratio"] = lambda: kurtosis_ratio(estimates, mixture)
    if several_estimates:
        computed["leakage"] = lambda: leakage(estimates, samplerate)
    if several_estimates and mixture is not None:
        computed["decisiveness"] = lambda: decisiveness(estimates, mixture)
    found = {key: compute() for key, compute in computed.items() if wanted is None or key in wanted}
    for key, several in (passes or {}).items():
        if key not in EVERY_MEASURE or EVERY_MEASURE[key].needs not in SEVERAL:
            raise AudioError(f"no measure of passes is called {key!r}; there are: "
                             f"{', '.join(name for name, one in EVERY_MEASURE.items() if one.needs in SEVERAL)}")
        found[key] = agreement(several)
    return {key: [float(value) if np.isfinite(value) else None for value in found[key]]
            for key in EVERY_MEASURE if key in found}
