import julius
import pytest
import torch

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
