"""The option `precision`, from the command line to the model."""

import pytest
import torch

from demucs.errors import ConfigError
from demucs.models import zoo
from demucs.separate import get_parser
from demucs.separation.apply import separate
from demucs.separation.precision import PRECISIONS


def test_bf16_is_near_float32_and_not_the_same():
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=["a", "b"], audio_channels=2, samplerate=8000, segment=1, channels=8, nfft=1024,
                      depth=5)
    mix = torch.randn(1, 2, 12_000)
    for workers in (0, 2):
        exact = separate(model, mix, shifts=0, workers=workers)
        rough = separate(model, mix, shifts=0, workers=workers, precision="bf16")
        assert rough.dtype == torch.float32
        error = 10 * torch.log10(exact.square().sum() / (rough - exact).square().sum())
        assert 25 < error < 70          # dB


def test_an_unknown_precision_is_one_line():
    model = zoo.build("demucs", sources=["a"], audio_channels=1, samplerate=8000, segment=1, channels=4, depth=2)
    with pytest.raises(ConfigError, match="precision='bf17'.*Did you mean 'bf16'"):
        separate(model, torch.randn(1, 1, 100), precision="bf17")
    for precision in PRECISIONS:
        assert get_parser().parse_args(["--precision", precision, "x.wav"]).precision == precision
    assert get_parser().parse_args(["x.wav"]).precision == "float32"
