"""Separation in bfloat16."""

import pytest
import torch

from demucs.errors import ConfigError
from demucs.inference.precision import PRECISIONS, computing_in
from demucs.metrics.nsdr import nsdr
from demucs.models import zoo

CPU = torch.device("cpu")


@pytest.mark.parametrize("name, settings", [
    ("hdemucs", {"channels": 8, "dconv_init": 0.5}),
    ("hdemucs", {"channels": 8, "dconv_init": 0.5, "dconv_mode": 3, "depth": 5, "norm_starts": 2, "norm_groups": 1}),
    ("htdemucs", {"channels": 8, "dconv_init": 0.5, "t_layers": 2, "t_heads": 2}),
    ("demucs", {"channels": 8, "dconv_init": 0.5, "depth": 4})])
def test_error_lies_far_below_the_estimates(name, settings):
    torch.manual_seed(0)
    model = zoo.build(name, sources=["a", "b"], audio_channels=2, samplerate=44100, segment=2, **settings).eval()
    mix = torch.randn(1, 2, 44100)
    outputs = {}
    with torch.no_grad():
        for precision in PRECISIONS:
            with computing_in(precision, CPU):
                outputs[precision] = model(mix).float()
        assert torch.equal(outputs["float32"], model(mix))
    difference = nsdr(outputs["float32"], outputs["bf16"])
    assert difference.min() > 30 and difference.max() < 70, "bfloat16 is exact to about 8 bits, 48 dB"


def test_no_trace_is_left():
    with computing_in("bf16", CPU):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="bfloat16.*bf16"):
        computing_in("bfloat16", CPU)
