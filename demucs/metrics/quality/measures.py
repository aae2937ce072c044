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
    lower value should. `needs` is the input it requires: "estimates" (nothing else), "mixture", or "model" (repeated
    separations)."""
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

Values = tp.Dict[str, tp.List[tp.Optional[float]]]


def measure_song(estimates: np.ndarray, samplerate: int, *, mixture: tp.Optional[np.ndarray] = None,
                 passes: tp.Optional[tp.Mapping[str, np.ndarray]] = None) -> Values:
    """All measures of one song that the given input allows: {measure: one value per source}, in the order of
    `MEASURES`.

    A value is None if it is undefined, as for a silent estimate. Measures between estimates (leakage, decisiveness) are
    omitted for a single estimate. Reconstruction has the same value for all sources.

    Args:
        estimates: [S, A, L].
        samplerate: sample rate in Hz.
        mixture: [A, L], for the measures that need it; None: they are omitted.
        passes: several separations [K, S, A, L] for each measure that needs a model, {measure: passes}; see
            `evaluation.passes`.

    Raises:
        AudioError: for inconsistent shapes, samples that are not finite, a song shorter than a quarter of a second, or
            passes for an unknown measure.
    """
    estimates = np.asarray(estimates)
    if estimates.ndim != 3:
        raise AudioError(f"estimates of a song are [sources, channels, samples], got the shape {estimates.shape}")
    found: tp.Dict[str, tp.Any] = {
        "hnr": [hnr(estimate, samplerate, **HNR_SETTINGS) for estimate in estimates],
        "hpr": [hpr(estimate) for estimate in estimates]}
    if mixture is not None:
        found["reconstruction"] = [reconstruction(estimates, mixture).relative] * len(estimates)
        found["level"] = level(estimates, mixture)
        found["kurtosis_ratio"] = kurtosis_ratio(estimates, mixture)
    if len(estimates) > 1:
        found["leakage"] = leakage(estimates, samplerate)
    if len(estimates) > 1 and mixture is not None:
        found["decisiveness"] = decisiveness(estimates, mixture)
    for key, several in (passes or {}).items():
        if key not in MEASURES or MEASURES[key].needs != "model":
            raise AudioError(f"no measure of passes is called {key!r}; there are: "
                             f"{', '.join(name for name, one in MEASURES.items() if one.needs == 'model')}")
        found[key] = agreement(several)
    return {key: [float(value) if np.isfinite(value) else None for value in found[key]]
            for key in MEASURES if key in found}
