"""Activation checkpointing: equal gradients, random states and statistics, and the names of before."""

import copy
from importlib.util import find_spec

import pytest
import torch
from models.test_zoo import SOURCES, small
from torch import nn

from demucs.layers.recomputation import set_recomputation
from demucs.models import zoo
from demucs.models.protocol import SeparationModel, set_checkpointing
from demucs.training.optim import build_optimizer
from demucs.training.precision import Precision
from demucs.training.quantisation import QuantSettings
from demucs.training.quantisation import build as build_quantisation


def build(name, **settings):
    torch.manual_seed(0)
    return zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=8000, segment=1., channels=8, **settings)


OTHERS = {"dropout": lambda: build("htdemucs", t_layers=3, t_dropout=0.3),
          "shifted positions": lambda: build("htdemucs", t_layers=2, t_emb="cape"),
          "sparse attention": lambda: build("htdemucs", t_layers=2, t_sparse_self_attn=True, t_mask_type="diag_random",
                                            t_sparse_attn_window=5),
          "LSTM at the bottom": lambda: build("demucs", depth=3, lstm_layers=2),
          "separate bands": lambda: build("hdemucs", depth=5, nfft=1024, multi_freqs=[0.25, 0.5], multi_freqs_depth=2)}
MODELS = {**{name: (lambda name=name: small(name)) for name in zoo.NAMES}, **OTHERS}


def step(model, on, precision="float32", training=None):
    """(output, gradients by name, next random number) of a training step."""
    set_checkpointing(model.train(), on)
    torch.manual_seed(3)
    mix = torch.randn(2, 2, 8000)
    forward = Precision(precision).forward_of(model)
    if training is None:
        out = forward(mix)
    else:
        with training.in_training(0, 0):
            out = forward(mix)
    drawn = torch.rand(3)
    out.square().mean().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters()}, drawn


def assert_equal(one, other):
    assert torch.equal(one[0], other[0]) and torch.equal(one[2], other[2]) and one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert (gradient is None and other[1][name] is None) or torch.equal(gradient, other[1][name]), name


@pytest.mark.parametrize("name", MODELS)
def test_gradients_have_the_same_bits(name):
    assert_equal(step(MODELS[name](), False), step(MODELS[name](), True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_under_autocast(precision):
    assert_equal(*(step(small("hdemucs"), on, precision) for on in (False, True)))


@pytest.mark.skipif(not find_spec("diffq"), reason="diffq is not installed")
def test_with_the_noise_of_quantisation():
    """The second forward pass is made outside of the context that has the noisy weights."""
    results = []
    for on in (False, True):
        model = small("hdemucs")
        optimizer = build_optimizer(model, kind="adam", lr=1e-3, momentum=0.9, beta2=0.999, weight_decay=0)
        quantisation = build_quantisation(model, QuantSettings(1e-3, None, False, 0.01, 4), optimizer, seed=1)
        results.append(step(model, on, training=quantisation))
    assert_equal(*results)
    bits = [name for name in results[0][1] if name.endswith("_diffq")]
    assert bits and all(results[1][1][name].abs().sum() > 0 for name in bits)


class Normalised(SeparationModel):
    """A model of one's own with running statistics."""
    sources, audio_channels, samplerate, segment = SOURCES, 2, 8000, 1.

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv1d(size, 8, 3, padding=1), nn.BatchNorm1d(8), nn.Dropout(0.2),
                                                  nn.Tanh()) for size in (2, 8))

    def recomputable_blocks(self):
        return list(self.blocks)

    def forward(self, mix):
        for block in self.blocks:
            mix = block(mix)
        return mix.unflatten(1, (4, 2))


def test_running_statistics_are_updated_once():
    models = [Normalised(), Normalised()]
    assert_equal(*(step(model, on) for model, on in zip(models, (False, True))))
    for (name, one), other in zip(models[0].named_buffers(), models[1].buffers()):
        assert torch.equal(one, other), name
    assert models[1].blocks[0][1].num_batches_tracked == 1
    assert models[1].blocks[0][1].running_mean.abs().sum() > 0


def test_blocks_are_computed_again():
    model, calls = small("hdemucs"), []
    model.encoder[0].conv.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    for on, count in ((False, 1), (True, 3), (False, 4)):
        step(model, on)
        assert len(calls) == count


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_model_stays_what_it_was(name):
    model, other = small(name), small(name)
    set_checkpointing(model, True)
    assert model.state_dict().keys() == other.state_dict().keys()
    assert model.recomputable_blocks() and len(set(model.recomputable_blocks())) == len(model.recomputable_blocks())
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data.zero_()
    mix = torch.randn(1, 2, 4000)
    with torch.no_grad():
        assert torch.equal(model.eval()(mix), other.eval()(mix))
        assert not torch.equal(copied.eval()(mix), other(mix))          # it runs with its own weights
    set_checkpointing(model, False)
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_error_in_a_block_leaves_it_as_it_was():
    class Failing(nn.Linear):
        passes = 0

        def forward(self, x):
            self.passes += 1
            if self.passes == 2:
                raise RuntimeError("second pass")
            return super().forward(x).sin()
    block = Failing(2, 2)
    before = dict(block._parameters)
    set_recomputation([block])
    with pytest.raises(RuntimeError, match="second pass"):
        block(torch.ones(1, 2)).sum().backward()
    assert all(block._parameters[name] is value for name, value in before.items())
