"""nSDR against values worked out by hand, and its behaviour on bad input."""

import math

import pytest
import torch

from demucs.errors import AudioError
from demucs.metrics.nsdr import nsdr


def test_error_of_a_tenth_is_twenty_db():
    reference = torch.ones(1, 2, 50, dtype=torch.float64)
    score = nsdr(reference, reference * 1.1)
    # sum ref^2 = 100, sum err^2 = 100 * 0.01 = 1: 10 log10(100 / 1) = 20 dB, moved by delta by less than 1e-6
    assert score.shape == (1,)
    assert score.item() == pytest.approx(20., abs=1e-6)


def test_channels_and_samples_are_summed_before_the_ratio():
    reference = torch.tensor([[[3., 0.], [0., 4.]]], dtype=torch.float64)        # energy 9 + 16 = 25
    estimate = torch.tensor([[[3., 1.], [2., 4.]]], dtype=torch.float64)         # error 1 + 4 = 5
    assert nsdr(reference, estimate).item() == pytest.approx(10 * math.log10(25 / 5), abs=1e-6)


def test_silent_estimate_scores_zero_and_mixture_of_two_equal_sources_too():
    generator = torch.Generator().manual_seed(1)
    reference = torch.randn(2, 2, 1000, generator=generator, dtype=torch.float64)
    assert torch.equal(nsdr(reference, torch.zeros_like(reference)), torch.zeros(2, dtype=torch.float64))
    mixture = reference.sum(dim=0, keepdim=True).expand_as(reference)   # the error of each source is the other source
    ratio = reference.square().sum(dim=(1, 2))
    expected = 10 * torch.log10(ratio / ratio.flip(0))
    assert torch.allclose(nsdr(reference, mixture), expected, atol=1e-7)


def test_delta_bounds_both_ends():
    silence, tone = torch.zeros(1, 1, 10, dtype=torch.float64), torch.ones(1, 1, 10, dtype=torch.float64)
    assert nsdr(silence, silence).item() == 0.
    assert nsdr(tone, tone).item() == pytest.approx(10 * math.log10((10 + 1e-7) / 1e-7), abs=1e-9)
    assert nsdr(silence, tone).item() == pytest.approx(10 * math.log10(1e-7 / (10 + 1e-7)), abs=1e-9)


def test_leading_dimensions_are_kept_and_independent():
    generator = torch.Generator().manual_seed(2)
    reference = torch.randn(3, 4, 2, 100, generator=generator)
    estimate = reference + 0.3 * torch.randn(3, 4, 2, 100, generator=generator)
    scores = nsdr(reference, estimate)
    assert scores.shape == (3, 4) and scores.dtype == torch.float32
    assert torch.equal(scores[1, 2:3], nsdr(reference[1, 2:3], estimate[1, 2:3]))


@pytest.mark.parametrize("first, second, named", [
    ((4, 2, 10), (4, 2, 11), "(4, 2, 11)"),
    ((4, 2, 10), (4, 1, 10), "(4, 1, 10)"),
    ((2, 10), (2, 10), "(2, 10)"),
    ((4, 2, 0), (4, 2, 0), "(4, 2, 0)"),
])
def test_wrong_shapes_are_named(first, second, named):
    with pytest.raises(AudioError) as caught:
        nsdr(torch.zeros(first), torch.zeros(second))
    assert named in str(caught.value)
