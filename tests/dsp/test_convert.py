import julius
import pytest
import torch

from demucs.dsp import convert
from demucs.dsp.convert import convert_audio, convert_channels, resample
from demucs.errors import AudioError


def test_channels():
    wav = torch.randn(3, 2, 10)
    assert convert_channels(wav, 2) is wav
    assert torch.equal(convert_channels(wav, 1), (wav[:, :1] + wav[:, 1:]) / 2)
    mono = wav[:, :1]
    assert torch.equal(convert_channels(mono, 3), torch.cat([mono] * 3, dim=1))
    six = torch.randn(6, 10)
    assert torch.equal(convert_channels(six, 2), six[:2])
    with pytest.raises(AudioError, match="6 channels out of 2"):
        convert_channels(wav, 6)


@pytest.mark.parametrize("rates", [(44100, 22050), (8000, 44100), (96000, 44100), (44100, 44100)])
def test_resampling_is_julius(rates):
    wav = torch.randn(2, 2, 4411)
    expected = julius.resample_frac(wav, *rates)
    for _ in range(2):   # the second time with the cached filters
        assert torch.equal(resample(wav, *rates), expected)
    assert torch.equal(convert_audio(wav, *rates, 1), julius.resample_frac(wav.mean(1, keepdim=True), *rates))
    assert resample(wav.double(), *rates).dtype == torch.float64


def test_nothing_to_resample():
    assert resample(torch.zeros(2, 0), 44100, 22050).shape == (2, 0)
    with pytest.raises(AudioError, match="0 Hz"):
        resample(torch.zeros(2, 10), 0, 22050)


@pytest.mark.parametrize("rates", [(44099, 44100), (44100, 44099), (44056, 44100), (48000, 44101)])
def test_rates_that_hardly_meet(rates):
    """julius would build up to 46 GB of filters. A sine comes out within -125 dB, and as long as julius makes it."""
    old, new = rates
    seconds = 2
    time = torch.arange(seconds * old, dtype=torch.float64) / old
    pitch = 0.02 * min(rates)
    wav = torch.stack([torch.sin(2 * torch.pi * pitch * time), torch.cos(2 * torch.pi * pitch * time)]).float()
    out = convert.resample(wav, old, new)
    assert out.dtype == torch.float32 and out.shape == (2, seconds * new)
    inside = slice(len(out[0]) // 4, -len(out[0]) // 4)
    expected = torch.sin(2 * torch.pi * pitch * torch.arange(seconds * new, dtype=torch.float64) / new)
    error = (out[0].double() - expected)[inside].pow(2).mean() / expected[inside].pow(2).mean()
    assert 10 * error.log10() < -125


def test_one_sample_per_second():
    assert convert.resample(torch.ones(2, 50), 1, 44100).shape == (2, 50 * 44100)
    assert convert.resample(torch.ones(2, 44100 * 3), 44100, 1).shape == (2, 3)


def test_the_other_resampler_keeps_what_it_should_and_no_more():
    """Flat to 0.05 dB up to 0.93 of the lower Nyquist frequency, nothing left above it (-130 dB)."""
    old, new = 48000, 44101
    time = torch.arange(2 * old, dtype=torch.float64) / old
    for part, low, high in ((0.5, -0.05, 0.05), (0.93, -0.05, 0.05), (1.001, None, -130), (1.08, None, -130)):
        out = convert.resample(torch.sin(torch.pi * part * new * time).float(), old, new)[new // 2:-new // 2]
        level = 10 * (2 * out.double().pow(2).mean() + 1e-30).log10()
        assert level <= high and (low is None or level >= low), (part, level)


def test_usual_rates_stay_with_julius():
    rates = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
    assert all(convert._bank_size(a, b) <= 2 ** 20 for a in rates for b in rates)


@pytest.mark.parametrize("rate", [1.5, 0, -1, float("nan"), float("inf"), 10 ** 400, "44100", True])
def test_rates_are_whole_numbers(rate):
    with pytest.raises(AudioError, match="positive whole numbers"):
        convert.resample(torch.zeros(1, 100), rate, 15)
    with pytest.raises(AudioError, match="positive whole numbers"):
        convert.resample(torch.zeros(1, 100), 15, rate)


def test_a_whole_number_may_be_a_float():
    wav = torch.randn(1, 100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(convert.resample(wav, 10., 15), convert.resample(wav, 10, 15))
