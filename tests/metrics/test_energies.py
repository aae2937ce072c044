"""Scores from inner products are those of the formulas, for sources and for sums of them."""

import numpy as np
import pytest
import torch

from demucs.errors import AudioError
from demucs.metrics.bsseval import bss_eval
from demucs.metrics.energies import energies
from demucs.metrics.nsdr import nsdr

RATE = 100
TOLERANCE = 1e-9     # dB
PARTS = [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]]


def signals(length=1234, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    references = torch.randn(3, 2, length, generator=draw)
    references[1] += 0.5 * references[0]
    noise = torch.tensor([1e-3, 0.1, 3.])[:, None, None] * torch.randn(3, 2, length, generator=draw)
    return references.to(dtype), (0.7 * references + noise).to(dtype)


def sums(wavs, parts=PARTS):
    return torch.stack([wavs[indices].double().sum(0) for indices in parts])


def si_sdr(references, estimates):
    """By its definition, of [K, A, L]."""
    own = references.square().sum((1, 2))
    scale = (references * estimates).sum((1, 2)) / own
    error = (scale[:, None, None] * references - estimates).square().sum((1, 2))
    return 10 * torch.log10(scale.square() * own / error)


@pytest.mark.parametrize("length,dtype", [(1234, torch.float32), (1200, torch.float64), (70, torch.float32)])
def test_same_as_the_formulas(length, dtype):
    references, estimates = signals(length, dtype)
    before = estimates.clone()
    found = energies(references, estimates, PARTS, samplerate=RATE)
    assert torch.equal(before, estimates)
    true, guess = sums(references), sums(estimates)
    torch.testing.assert_close(found.nsdr(), nsdr(true, guess), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(found.si_sdr(), si_sdr(true, guess), atol=TOLERANCE, rtol=0)
    for index in range(len(PARTS)):
        frames = bss_eval(true[index:index + 1], guess[index:index + 1], RATE, measures=("SDR",)).frames["SDR"]
        np.testing.assert_allclose(found.sdr()[index:index + 1].numpy(), frames, atol=TOLERANCE)


def test_si_sdr_by_hand():
    def of(reference, estimate):
        wavs = [torch.tensor([[wav]], dtype=torch.float64) for wav in (reference, estimate)]
        return energies(*wavs, [[0]], samplerate=RATE).si_sdr().item()

    assert of([3., 4., 0.], [6., 8., 1.]) == pytest.approx(20.)        # twice the reference, and 1 beside it: 100 / 1
    assert of([3., 4., 0.], [30., 40., 5.]) == pytest.approx(20.)
    assert np.isnan(of([0.] * 3, [1.] * 3)) and of([3., 4., 0.], [0., 0., 1.]) == -np.inf


def test_high_scores_keep_their_digits():
    """An error of -120 dB: nothing is lost in differences of large numbers."""
    references, _ = signals(dtype=torch.float64)
    estimates = references * (1 + 0.1) + 1e-7 * references.roll(1, -1)
    found = energies(references, estimates, [[0], [0, 1]], samplerate=RATE)
    expected = si_sdr(sums(references, [[0], [0, 1]]), sums(estimates, [[0], [0, 1]]))
    assert expected.min() > 120
    torch.testing.assert_close(found.si_sdr(), expected, atol=0.1, rtol=0)
    estimates = references + 1e-6 * references.roll(1, -1)
    found = energies(references, estimates, PARTS, samplerate=RATE)
    torch.testing.assert_close(found.nsdr(), nsdr(sums(references), sums(estimates)), atol=1e-6, rtol=0)


def test_edges():
    references, estimates = signals()
    estimates[0] = references[0]                 # an exact copy
    estimates[1] = 0
    references[2, :, :3 * RATE] = 0              # silent frames
    references[2, 0, 5 * RATE:6 * RATE] = -references[2, 1, 5 * RATE:6 * RATE]      # which counts as silence, too
    found = energies(references, estimates, [[0], [1], [2], [1, 2]], samplerate=RATE)
    assert found.sdr()[0].isinf().all() and found.si_sdr()[0] == torch.inf and found.nsdr()[0] > 70
    assert found.sdr()[1].isnan().all() and found.si_sdr()[1].isnan() and abs(found.nsdr()[1]) < 1e-6
    assert found.sdr()[2].isnan().tolist() == [index in (0, 1, 2, 5) for index in range(12)]
    assert not found.sdr()[3].isnan().any()
    silent = energies(torch.zeros(1, 2, 250), torch.ones(1, 2, 250), [[0]], samplerate=RATE)
    assert silent.sdr().isnan().all() and silent.si_sdr().isnan() and silent.nsdr() < -70


def test_sound_after_the_last_whole_frame_only():
    """museval looks at whole tracks for silence: there the frame is undefined, not the track."""
    references = torch.zeros(1, 1, 250)
    references[..., 240:] = 1
    found = energies(references, 0.5 * references, [[0]], samplerate=RATE)
    assert found.sdr().isnan().all() and found.nsdr() == pytest.approx(10 * np.log10(4), abs=1e-6)


@pytest.mark.parametrize("shapes", [((1, 2, 5), (1, 2, 4)), ((2, 5), (2, 5)), ((1, 2, 0), (1, 2, 0))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(AudioError, match="of one shape"):
        energies(*(torch.zeros(shape) for shape in shapes), [[0]], samplerate=RATE)
