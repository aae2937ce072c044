"""LSTMs under autocast, on a simulated GPU and on a real one."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from demucs.layers.recurrent import BLSTM, LSTM
from demucs.models import zoo


@pytest.fixture
def calls(monkeypatch):
    """What torch's LSTM is called with: (type of its input, whether autocast is on)."""
    seen = []

    def forward(self, input, hx=None):
        seen.append((input.dtype, torch.is_autocast_enabled(input.device.type)))
        size = input.shape[:-1] + (2 * self.hidden_size,)
        return input.new_zeros(size), None
    monkeypatch.setattr(nn.LSTM, "forward", forward)
    return seen


@pytest.fixture
def cuda_autocast():
    """As `torch.autocast("cuda", torch.bfloat16)` does it, which first looks for a device."""
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)


def test_an_lstm_on_a_gpu_stays_in_float32(calls, cuda_autocast):
    layer = LSTM(4, 4, bidirectional=True)
    with FakeTensorMode():
        layer(torch.zeros(10, 1, 4, dtype=torch.bfloat16, device="cuda"))
    assert calls == [(torch.float32, False)]
    assert torch.is_autocast_enabled("cuda")


def test_an_lstm_on_a_cpu_computes_as_before(calls):
    layer = BLSTM(4)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        layer(torch.zeros(1, 4, 10))
    assert calls == [(torch.float32, True)]


def test_an_lstm_stays_in_float32_in_training(calls):
    layer = BLSTM(4)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.zeros(1, 4, 10))
    assert calls == [(torch.float32, False)]


@pytest.mark.parametrize("name, settings", [
    ("demucs", {"channels": 4, "depth": 2, "lstm_layers": 2}), ("hdemucs", {"channels": 4, "nfft": 1024, "depth": 5}),
    ("torch_hdemucs", {"channels": 4, "growth": 2})])
def test_every_lstm_of_every_model_is_such(name, settings):
    model = zoo.build(name, sources=["a"], audio_channels=1, samplerate=8000, segment=1, **settings)
    found = [module for module in model.modules() if isinstance(module, nn.LSTM)]
    assert found and all(isinstance(module, LSTM) for module in found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_large_numbers_stay_finite_on_a_gpu():
    torch.manual_seed(0)
    layer = LSTM(4, 4).cuda()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        out, _ = layer(torch.full((3, 1, 4), 1e6, device="cuda"))
    assert out.dtype == torch.float32 and out.isfinite().all()
