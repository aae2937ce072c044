"""LSTMs under autocast, on a simulated GPU and on a real one, and dropout between their layers."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from demucs.dsp.randomness import torch_generator
from demucs.layers.dropout import drawn_per_example, dropout
from demucs.layers.recomputation import set_recomputation
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


def stacked(seed=0, **settings):
    torch.manual_seed(seed)
    return {"hidden_size": 4, "num_layers": 3, "dropout": 0.4, **settings}


@pytest.mark.parametrize("directions", [False, True])
def test_dropout_between_layers_is_that_of_torch(directions):
    """With the masks of the global generator: outputs, last states and gradients."""
    found = []
    for kind in (LSTM, nn.LSTM):
        layer = kind(5, **stacked(bidirectional=directions))
        torch.manual_seed(1)
        x = torch.randn(7, 3, 5, requires_grad=True)
        out, (h, c) = layer(x)
        (out.square().sum() + h.sum() + c.sin().sum()).backward()
        found.append([out, h, c, x.grad, *(weight.grad for weight in layer.parameters())])
    for one, other in zip(*found):
        assert torch.allclose(one, other, atol=1e-6)
    assert not torch.equal(layer(x)[0], layer(x)[0])


def test_masks_of_examples_do_not_depend_on_the_batch():
    layer = LSTM(5, **stacked())
    x = torch.randn(7, 4, 5)

    def run(first, last):
        with drawn_per_example([torch_generator(3, "dropout", place) for place in range(first, last)]):
            return layer(x[:, first:last])[0]
    whole = run(0, 4)
    assert torch.allclose(whole, torch.cat([run(0, 1), run(1, 4)], dim=1), atol=1e-6)
    assert torch.equal(whole, run(0, 4)) and not torch.allclose(whole, layer(x)[0])
    assert torch.equal(layer.eval()(x)[0], run(0, 4))


def test_dropout():
    draw = torch.Generator().manual_seed(0)
    with drawn_per_example([draw, torch.Generator().manual_seed(1)]):
        x = dropout(torch.ones(500, 2, 40), 0.4)
        again = dropout(torch.ones(500, 2, 40), 0.4)
    assert set(x.unique().tolist()) == {0., torch.tensor(1 / 0.6).item()}
    assert abs(x.mean() - 1) < 0.01 and not torch.equal(x[:, 0], x[:, 1]) and not torch.equal(x, again)


def test_masks_are_drawn_again_where_activations_are_computed_again():
    grads = []
    for on in (False, True):
        layer = LSTM(5, **stacked())
        set_recomputation([layer], on)
        torch.manual_seed(1)
        with drawn_per_example([torch_generator(3, "dropout", place) for place in range(2)]):
            out, _ = layer(torch.randn(7, 2, 5))
        torch.rand(3)
        out.square().sum().backward()
        grads.append([weight.grad for weight in layer.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*grads))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_large_numbers_stay_finite_on_a_gpu():
    torch.manual_seed(0)
    layer = LSTM(4, 4).cuda()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        out, _ = layer(torch.full((3, 1, 4), 1e6, device="cuda"))
    assert out.dtype == torch.float32 and out.isfinite().all()
