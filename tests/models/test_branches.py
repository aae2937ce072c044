"""Hybrid models composed of other branches and mixers than the published ones."""

import copy
import functools

import pytest
import torch
from torch import nn

from demucs.dsp.spectral import istft, pad_reflect, stft
from demucs.layers.dconv import DConvSpec
from demucs.layers.transformer import CrossTransformer, LinearAttention, TransformerSpec
from demucs.models.hybrid.branches import Branch, EmbeddingSpec, scheduled_rows
from demucs.models.hybrid.fusion import Fusion, Sum
from demucs.models.hybrid.mixer import CrossDomain, Gated, SkipsOnly, cross_domain
from demucs.models.hybrid.net import HybridNet
from demucs.models.hybrid.view import ComplexAsChannels, SpectralView

SOURCES = ["a", "b", "c"]
BRANCH = DConvSpec(depth=1, compress=4, init=1e-3, attention=False, lstm=False)
DOWN = dict(channels=[8, 16], kernels=[8, 4], strides=[4, 2], paddings=[2, 1])


class Mean(Fusion):
    """Learnt weights and a bias, and a count of the steps."""

    def __init__(self, unit):
        super().__init__()
        self.at_unit_level = unit
        self.weights = nn.Parameter(torch.full((3,), 1 / 3))
        self.bias = nn.Parameter(torch.full((), 0.1))
        self.steps = 0

    def forward(self, estimates):
        return sum(weight * estimate for weight, estimate in zip(self.weights, estimates.values())) + self.bias

    def after_step(self):
        self.steps += 1


def spectral(name, n_fft, overlap=4, **options):
    view = SpectralView(n_fft, overlap=overlap)
    rows = scheduled_rows(axis="frequency", outer=4, bins=view.bins, down=BRANCH, up=BRANCH, norm_starts=1, **DOWN)
    return Branch(name, f"encoder_{name}", f"decoder_{name}", rows, view, ComplexAsChannels(),
                  EmbeddingSpec(0.2, 10., True, name=f"freq_emb_{name}"), **options)


def temporal():
    return Branch("time", "tencoder", "tdecoder", scheduled_rows(axis="time", outer=2, down=BRANCH, **DOWN))


def net(branches, mixers=None, fusion=None):
    torch.manual_seed(0)
    return HybridNet(SOURCES, audio_channels=2, samplerate=8000, segment=2, branches=branches,
                     mixers=mixers or {}, fusion=fusion or Sum(), context=1, context_enc=0, rescale=0.1)


def several(unit=False):
    """Two resolutions with other hops, and waveforms."""
    return net([spectral("short", 128), spectral("long", 256, overlap=2), temporal()], fusion=Mean(unit))


def test_any_number_of_branches():
    model = several()
    for length in (100, 1003):
        mix = torch.randn(2, 2, length)
        estimates = model(mix)
        assert estimates.shape == (2, 3, 2, length) and torch.isfinite(estimates).all()
        seen = model.analyse(mix)
        outputs = model.core(*(each.input for each in seen))
        assert not any(each.is_complex() for each in (*outputs, *(each.input for each in seen)))
        torch.testing.assert_close(model.synthesise(outputs, seen, mix), estimates, rtol=0, atol=1e-6)
    model(torch.randn(1, 2, 900)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert [name.partition(".")[0] for name in dict.fromkeys(key.partition(".")[0] for key in model.state_dict())] == [
        "encoder_short", "decoder_short", "encoder_long", "decoder_long", "tencoder", "tdecoder", "freq_emb_short",
        "freq_emb_long", "fusion"]


@pytest.mark.parametrize("branches", [[spectral("short", 128)], [temporal()], [spectral("eighth", 256, overlap=8)]],
                         ids=["frequency", "time", "hop n/8"])
def test_one_branch_alone(branches):
    model = net(branches)
    assert model(torch.randn(2, 2, 1000)).shape == (2, 3, 2, 1000)


def test_a_branch_that_keeps_the_level_of_its_input():
    seen = net([spectral("short", 128, normalize=False)]).analyse(mix := 5 + torch.randn(1, 2, 500))
    assert seen[0].level is None
    torch.testing.assert_close(seen[0].input, ComplexAsChannels().encode(SpectralView(128).analyse(mix)))


def test_silence_and_level_before_they_are_restored():
    mix = torch.randn(1, 2, 800)
    with torch.no_grad():
        for unit in (True, False):
            model = several(unit)
            silent = model(torch.zeros(1, 2, 800)).abs().max()
            louder = (model(10 * mix) - 10 * model(mix)).abs().max()
            assert (silent == 0) == unit and (louder < 1e-2) == unit


def test_what_may_not_happen_in_forward_happens_after_steps():
    model = several()
    model(torch.randn(1, 2, 300))
    assert model.fusion.steps == 0
    model.after_step()
    assert model.fusion.steps == 1


def mixer(channels, seen=None, **options):
    return CrossDomain({}, CrossTransformer(TransformerSpec(channels, heads=2, layers=2, **options)))


def test_a_mixer_at_two_places_is_one_module():
    make = functools.partial(mixer, kernel="linear")
    branches = [spectral("short", 128), temporal()]
    model = net(branches, {"encoder.0": make, "decoder.0": make, "bottom": lambda channels: SkipsOnly()})
    alone = net(branches, {"encoder.0": functools.partial(mixer, kernel="linear")})
    assert dict(model.named_parameters()).keys() == dict(alone.named_parameters()).keys()
    calls = []
    model.crosstransformer.register_forward_hook(lambda *_: calls.append(1))
    mix = torch.randn(1, 2, 500)
    assert not torch.equal(model(mix), alone(mix)) and len(calls) == 2
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.crosstransformer.parameters():
            parameter.add_(0.5)
    assert not torch.equal(twin(mix), model(mix))
    with pytest.raises(ValueError, match="no place 'encoder.2'"):
        net(branches, {"encoder.2": make})


def test_gates():
    branches = [spectral("short", 128), temporal()]
    model = net(branches, {"bottom": lambda channels: Gated(mixer(channels), ["gate", "gate_t"])})
    assert model.gate.shape == model.gate_t.shape == ()
    states = torch.randn(1, 16, 8, 5), torch.randn(1, 16, 7)
    gated, = model._mixers["bottom"]
    with torch.no_grad():
        mixed = gated._mixer[0](*states)
        for value, a in ((0., 0.5), (-100., 0.), (100., 1.)):
            model.gate.fill_(value)
            torch.testing.assert_close(gated(*states)[0], a * mixed[0] + (1 - a) * states[0])
            torch.testing.assert_close(gated(*states)[1], 0.5 * mixed[1] + 0.5 * states[1])
    model(torch.randn(1, 2, 500)).sum().backward()
    assert model.gate.grad is not None and model.gate_t.grad is not None


def test_the_transformer_of_htdemucs_behind_a_gate():
    """With its parts and the gates under their own names."""
    make = functools.partial(cross_domain, bottom=8, spec=TransformerSpec(0, heads=2, layers=1), gates=("gate", "gate_t"))
    model = net([spectral("short", 128), temporal()], {"bottom": make})
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert {"gate", "gate_t", "crosstransformer", "channel_upsampler", "channel_downsampler_t"} <= names
    model(torch.randn(1, 2, 500)).sum().backward()
    assert model.gate.grad is not None and model.channel_upsampler.weight.grad is not None


def test_linear_attention_is_a_weighted_mean():
    """Against the plain formula, with all weights in one matrix, in float64."""
    torch.manual_seed(0)
    attention = LinearAttention(8, 2).double()
    query, memory = torch.randn(2, 5, 8).double(), torch.randn(2, 9, 8).double()
    q, k, v = attention.q(query), attention.k(memory), attention.v(memory)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        phi_q, phi_k = (torch.where(x > 0, x + 1, x.exp()) for x in (q[..., part], k[..., part]))
        weights = torch.einsum("bnc,bmc->bnm", phi_q, phi_k)
        heads.append(weights @ v[..., part] / (weights.sum(-1, keepdim=True) + 1e-6))
    torch.testing.assert_close(attention(query, memory), attention.proj(torch.cat(heads, -1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [2, 4, 8])
@pytest.mark.parametrize("length", [700, 1024, 1500])
def test_views_of_any_hop_give_the_signal_back(overlap, length):
    view = SpectralView(256, overlap=overlap)
    x = (torch.arange(length, dtype=torch.float64) * 0.3).sin()[None]        # without the highest frequency, which is dropped
    z = view.analyse(x)
    assert z.shape[-2:] == (128, -(-length // view.hop))
    again = view.synthesise(z, length)
    assert again.shape == x.shape
    inner = slice(256, length - 256)                                         # at the edges frames are missing
    torch.testing.assert_close(again[..., inner], x[..., inner], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_fft", [108, 100, 128])
def test_the_published_padding_also_of_an_odd_hop(n_fft):
    """One and a half hops before the signal, where half a hop is rounded down first."""
    hop = n_fft // 4
    x = torch.randn(1, 1000)
    frames = -(-1000 // hop)
    padded = pad_reflect(x, hop // 2 * 3, hop // 2 * 3 + frames * hop - 1000)
    expected = stft(padded, n_fft=n_fft, hop=hop)[..., :-1, 2:2 + frames]
    view = SpectralView(n_fft)
    assert torch.equal(view.analyse(x), expected)
    full = torch.nn.functional.pad(expected, (2, 2, 0, 1))
    signal = istft(full, hop=hop, length=hop * frames + 2 * (hop // 2 * 3))
    assert torch.equal(view.synthesise(expected, 1000), signal[..., hop // 2 * 3:][..., :1000])


def test_impossible_parts():
    with pytest.raises(ValueError, match="overlap 3 times"):
        SpectralView(256, overlap=3)
    with pytest.raises(ValueError, match="one number per level"):
        scheduled_rows(axis="time", outer=2, **{**DOWN, "strides": [4]})
    with pytest.raises(ValueError, match="leaves no frequency"):
        scheduled_rows(axis="frequency", outer=2, bins=4, **{**DOWN, "paddings": [0, 0]})
    with pytest.raises(ValueError, match="kernel='soft'"):
        TransformerSpec(8, kernel="soft")
