"""Blocks evaluated piece by piece against their plain formulas, in double precision."""

import copy

import pytest
import torch

from demucs.layers.blocks import DecoderBlock, EncoderBlock, LayerSpec
from demucs.layers.cpu import piecewise
from demucs.layers.dconv import DConv, DConvSpec
from demucs.models import zoo

TOLERANCE = 2e-6           # of the largest value; plain float32 is up to 1e-6 off
SIZES = [(8, 4, 2), (4, 2, 1), (5, 3, 0), (3, 3, 1)]      # kernel, stride, padding
BRANCH = DConvSpec(depth=2, compress=4, init=0.5)


@pytest.fixture(params=[piecewise.PIECE, 20000, 1], ids=["one piece", "pieces", "smallest pieces"])
def piece(request, monkeypatch):
    monkeypatch.setattr(piecewise, "PIECE", request.param)


@pytest.fixture
def calls(monkeypatch):
    """Names of the functions that were used."""
    seen = []
    for name in ("encode", "decode"):
        def spy(*args, _name=name, _function=getattr(piecewise, name), **kwargs):
            seen.append(_name)
            return _function(*args, **kwargs)
        monkeypatch.setattr(piecewise, name, spy)
    return seen


def spec(axis, kernel, stride, padding, **settings):
    return LayerSpec(outer=6, inner=8, kernel=kernel, stride=stride, axis=axis, padding=padding, **settings)


def example(channels, axis, layout, bins=21, steps=19):
    x = torch.randn(2, channels, bins, steps) if axis == "frequency" else torch.randn(2, channels, 5 * steps)
    if layout == "channels last":
        return x.permute(0, *range(2, x.dim()), 1).contiguous().permute(0, -1, *range(1, x.dim() - 1))
    return x


def close(ours, truth, tolerance=TOLERANCE):
    assert ours.shape == truth.shape
    return (ours.double() - truth).abs().max() <= tolerance * truth.abs().max()


@pytest.mark.parametrize("branch", [None, BRANCH, DConvSpec(depth=-3, compress=8, init=0.5)],
                         ids=["bare", "branch", "narrow branch"])
@pytest.mark.parametrize("axis", ["frequency", "time"])
@pytest.mark.parametrize("size", SIZES)
def test_encoder(size, axis, branch, piece, calls):
    torch.manual_seed(0)
    block = EncoderBlock(spec(axis, *size), context=0, dconv=branch)
    double = copy.deepcopy(block).double()
    for layout in ("channels first", "channels last"):
        x = example(6, axis, layout)
        with torch.no_grad():
            assert close(block(x), double(x.double()))
    assert calls == ["encode"] * 2


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("last", [False, True], ids=["inside", "outermost"])
@pytest.mark.parametrize("branch", [None, BRANCH], ids=["bare", "branch"])
@pytest.mark.parametrize("axis", ["frequency", "time"])
@pytest.mark.parametrize("size", SIZES)
def test_decoder(size, axis, branch, last, context, piece, calls):
    torch.manual_seed(0)
    block = DecoderBlock(spec(axis, *size), context=context, dconv=branch, last=last)
    double = copy.deepcopy(block).double()
    x, skip = example(8, axis, "channels first"), example(8, axis, "channels last")
    length = x.shape[-1] * size[1] - size[2]
    with torch.no_grad():
        y, before = block(x, skip, length)
        truth, _ = double(x.double(), skip.double(), length)
        assert close(y, truth)
        assert close(block.expand(x, skip)[0], double.expand(x.double(), skip.double())[0])
    assert before is None and calls == ["decode"] * 2


@pytest.mark.parametrize("shape", [(1, 8, 1, 300000), (1, 8, 40, 700)], ids=["one long row", "rows"])
def test_statistics_of_long_and_half_silent_rows(shape):
    """A sum of a million equal float32 is visibly wrong if added up one by one."""
    torch.manual_seed(0)
    dconv = DConv(8, BRANCH)
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    x[..., shape[-1] // 2:] = 0.3
    truth = copy.deepcopy(dconv).double()(x[0].transpose(0, 1).double()).transpose(0, 1)[None]
    with torch.no_grad():
        piecewise.add_residuals(dconv, x)
    assert close(x, truth, 5e-6)


def test_silence_has_no_deviation_to_divide_by():
    torch.manual_seed(0)
    dconv = DConv(8, BRANCH)
    x = torch.zeros(1, 8, 3, 50).to(memory_format=torch.channels_last)
    truth = dconv(torch.zeros(3, 8, 50)).transpose(0, 1)[None]
    with torch.no_grad():
        piecewise.add_residuals(dconv, x)
    assert close(x, truth.double(), 1e-5)


@pytest.mark.parametrize("name, settings", [
    ("hdemucs", {"channels": 8, "dconv_init": 0.5}),
    ("hdemucs", {"channels": 8, "dconv_init": 0.5, "multi_freqs": [0.1, 0.3], "multi_freqs_depth": 2, "dconv_mode": 3}),
    ("htdemucs", {"channels": 8, "dconv_init": 0.5, "dconv_mode": 3, "t_layers": 1, "t_heads": 2})])
def test_models(name, settings, calls, monkeypatch):
    """Whole models, in pieces of some thousand bytes. Their frequency and time towers, outside of the deepest levels,
    are walked in pieces."""
    torch.manual_seed(0)
    model = zoo.build(name, sources=["a", "b"], audio_channels=2, samplerate=44100, segment=1, **settings).eval()
    mix = torch.randn(2, 2, 30011)
    with torch.no_grad():
        monkeypatch.setattr(piecewise, "PIECE", 10000)
        pieces = model(mix)
        used = len(calls)
        monkeypatch.setattr(piecewise, "_suits", lambda *_: False)
        plain = model(mix)
    assert used >= 16 and len(calls) == used
    assert (pieces - plain).abs().max() <= 1e-6 * plain.abs().max()


def test_training_listening_and_what_cannot_be_cut_keep_the_plain_formulas(calls):
    plain = spec("frequency", 8, 4, 2)
    x = torch.randn(1, 6, 16, 20)
    block = EncoderBlock(plain, context=0, dconv=BRANCH)
    block(x).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    with torch.no_grad():
        heard = []
        handle = block.dconv.layers[1][4].register_forward_hook(lambda *_: heard.append(1))
        block(x)
        assert heard and not calls
        handle.remove()
        for other in (EncoderBlock(plain, context=1, dconv=None),
                      EncoderBlock(spec("frequency", 8, 4, 2, norm_groups=2), context=0, dconv=None),
                      EncoderBlock(spec("frequency", 8, 4, 2, rewrite=False), context=0, dconv=None),
                      EncoderBlock(plain, context=0, dconv=DConvSpec(lstm=True)),
                      EncoderBlock(plain, context=0, dconv=DConvSpec(attention=True, compress=2)),
                      block.double()):
            other(x.to(next(other.parameters()).dtype))
        assert not calls
        block.float()(x)
        assert calls == ["encode"]


def test_where_the_branches_meet_the_input_of_the_transposed_convolution_is_returned(calls):
    block = DecoderBlock(spec("frequency", 8, 4, 0), context=1, dconv=None, last=False)
    x = torch.randn(1, 8, 1, 20)
    with torch.no_grad():
        _, before = block(x, torch.zeros_like(x), 20)
    assert before.shape == (1, 8, 1, 20) and not calls


@pytest.mark.parametrize("axis", ["frequency", "time"])
def test_autocast(axis, calls):
    """bfloat16 has 8 bits: results agree within some of its steps, and come out as it."""
    torch.manual_seed(0)
    block = EncoderBlock(spec(axis, 8, 4, 2), context=0, dconv=BRANCH)
    x = example(6, axis, "channels first")
    with torch.no_grad():
        truth = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = block(x)
    assert y.dtype == torch.bfloat16 and calls == ["encode"] * 2
    assert close(y, truth.double(), 2e-2)
