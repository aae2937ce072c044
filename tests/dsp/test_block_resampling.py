"""Resampling in blocks gives the samples of resampling the whole signal."""

import pytest
import torch

from demucs.dsp.block_resampling import BlockResampler, resampled_length
from demucs.dsp.convert import resample

PAIRS = [(48000, 44100), (44100, 48000), (16000, 44100), (44100, 16000), (96000, 44100), (8000, 44100), (44100, 44100),
         (44099, 44100), (44100, 44101)]       # the last two by libsoxr


def in_blocks(wav, rates, size):
    resampler = BlockResampler(*rates)
    parts = [resampler.push(block) for block in wav.split(size, dim=-1)]
    return torch.cat([part for part in (*parts, resampler.finish()) if part.shape[-1]] or [wav[:, :0]], dim=-1)


@pytest.mark.parametrize("rates", PAIRS, ids=str)
@pytest.mark.parametrize("length,size", [(1, 1), (7, 2), (1000, 1), (1000, 333), (40_003, 5000), (40_003, 10 ** 6)])
def test_same_samples(rates, length, size):
    wav = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    expected = resample(wav, *rates)
    found = in_blocks(wav, rates, size)
    assert found.shape == expected.shape and resampled_length(length, *rates) == expected.shape[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_only_the_filter_is_kept():
    resampler, longest = BlockResampler(48000, 44100), 0
    for block in torch.zeros(1, 300_000).split(10_000, dim=-1):
        resampler.push(block)
        longest = max(longest, resampler._kept.shape[-1])
    assert longest < 12_000


def test_nothing_to_resample():
    with pytest.raises(ValueError, match="no block"):
        BlockResampler(48000, 44100).finish()


@pytest.mark.parametrize("rates", [(1, 2), (2, 1)], ids=str)
def test_lengths_that_float32_does_not_have(rates):
    """julius rounds the length in float32, and so do the blocks."""
    for length in (2 ** 24 + 1, 2 ** 25 + 3):
        exact = length * rates[1] // rates[0]
        assert abs(resampled_length(length, *rates) - exact) <= 2
        assert resampled_length(length, *rates) == min(int(torch.as_tensor(length * rates[1] / rates[0])),
                                                       (length // rates[0] + 1) * rates[1])
