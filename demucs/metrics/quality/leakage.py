"""Leakage: the fraction of an estimate that is coherent with the other estimates.

Different instruments do not produce the same waveform, so a component that two estimates share in phase was put in
both, or was divided between them. The common component is measured by multiple coherence (J. S. Bendat, A. G. Piersol,
"Random Data", 4th ed. 2010, chapter 7): in every frequency bin and over `SECONDS` at a time, the spectrum of the
estimate is predicted linearly from those of all others, separately for each audio channel. If a fraction C of its
energy |E|^2 is predicted by others with the energy |O|^2, at most the smaller energy can have leaked:

    leakage = 10 log10( sum C min(|E|^2, |O|^2) / sum |E|^2 ),

which is 0 dB for an estimate that is a filtered sum of the others. With N frames and K other estimates, a fraction K /
N of any signal is predicted by chance; this bias is subtracted. The measure does not detect energy that is missing in
all estimates, nor artifacts of a single estimate. Sources that really share a waveform (one reverb on all of them)
count as leakage.
"""

import typing as tp

import numpy as np

from ...errors import AudioError
from .spectra import ratio_in_decibels, signals, spectra

N_FFT, HOP = 2048, 1024       # samples; at 44.1 kHz leakage may be delayed by up to 5 ms
SECONDS = 2.                  # over which the filters of the leakage are assumed constant
LEAST_FRAMES = 4              # per other estimate; with fewer, the bias is too large to be subtracted
FLOOR = -40.                  # dB: below it, the remaining bias dominates
TINY = np.finfo(np.float64).tiny
LOADING = 1e-9                # diagonal loading relative to the mean energy of the others, for silent estimates


def leakage(estimates: np.ndarray, samplerate: int) -> np.ndarray:
    """Energy of the part of each estimate that is linearly predictable from the others and may have leaked, relative to
    the energy of the estimate, in dB: [S], between -40 and 0; lower is better. Definition at the top of this module.

    NaN for a silent estimate; -40 if all others are silent.

    Args:
        estimates: at least two estimates of one mixture, [S, A, L].
        samplerate: sample rate in Hz.

    Raises:
        AudioError: for another shape or a single estimate, no samples or too few (4096 per other estimate), or samples
            that are not finite.
    """
    estimates = signals(estimates, "leakage between estimates", dimensions=3)
    others = len(estimates) - 1
    if others < 1:
        raise AudioError("leakage is measured between estimates: give at least two")
    frames = 1 + estimates.shape[-1] // HOP
    if frames < LEAST_FRAMES * others + 1:
        raise AudioError(f"leakage between {others + 1} estimates needs at least {LEAST_FRAMES * others * HOP} "
                         f"samples, got {estimates.shape[-1]}")
    blocks = max(1, round(frames * HOP / (SECONDS * samplerate)))
    blocks = min(blocks, frames // (LEAST_FRAMES * others + 1))
    predicted = np.zeros(len(estimates))
    whole = np.zeros(len(estimates))
    for channel in range(estimates.shape[1]):
        z = spectra(estimates[:, channel], n_fft=N_FFT, hop=HOP)
        for block in np.array_split(z, blocks, axis=-1):
            count = block.shape[-1]
            block = block.transpose(1, 0, 2).astype(np.complex128)             # [F, S, frames]
            covariance = block @ block.conj().transpose(0, 2, 1)
            for source in range(len(estimates)):
                part, own, theirs = _predicted(covariance, source)
                # Subtract the expected bias of the prediction; negative values average out in the sum.
                part = own - (own - part) * count / (count - others)
                share = np.divide(part, own, out=np.zeros_like(own), where=own > 0)
                predicted[source] += (share * np.minimum(own, theirs)).sum()
                whole[source] += own.sum()
    return np.minimum(0, ratio_in_decibels(np.maximum(predicted, 0), whole, FLOOR))


def _predicted(covariance: np.ndarray, source: int) -> tp.Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies [F] of the part of a source that the others predict, of the source, and of the others, from covariances
    [F, S, S]."""
    others = [index for index in range(covariance.shape[1]) if index != source]
    among = covariance[:, others][:, :, others]
    across = covariance[:, others, source][..., None]
    theirs = np.trace(among, axis1=1, axis2=2).real
    loading = LOADING * theirs / len(others) + TINY
    weights = np.linalg.solve(among + loading[:, None, None] * np.eye(len(others)), across)
    own = covariance[:, source, source].real
    return np.clip((across.conj() * weights).sum(axis=(1, 2)).real, 0, own), own, theirs
