"""Open-Unmix against the package openunmix 1.3.0, from a golden file that tests/golden/make_openunmix.py wrote: names,
order and initial values of weights, outputs of networks and of Separators; and what they do beside that."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden.openunmix_cases import (NETWORKS, SAMPLERATE, SETTINGS, STRIDE, TARGETS, magnitudes, mixture, randomise,
                                    separators)

from demucs.dsp.framing import Frames
from demucs.dsp.wiener import maximised, wiener
from demucs.errors import ConfigError
from demucs.models import zoo
from demucs.models.openunmix import OpenUnmix, OpenUnmixSeparator, bins_below

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "openunmix.npz"
TOLERANCE = 1e-5          # of the largest output
COMMON = dict(samplerate=SAMPLERATE, segment=600)
PUBLISHED = {"umxhq": (dict(), 44100, 2, 8_893_348), "umxl": (dict(hidden_size=1024), 44100, 2, 28_257_188),
             "umxse": (dict(hidden_size=256, nfft=1024, nhop=512), 16000, 1, 1_583_622)}


def difference(found, expected):
    return np.abs(found.numpy() - expected).max() / np.abs(expected).max()


def separator(seed, targets, channels, settings):
    """Separator of a case, with the weights that openunmix has there."""
    sources = [*targets, *(["residual"] if settings["residual"] else [])]
    model = OpenUnmixSeparator(sources, channels, **COMMON, **SETTINGS, targets=targets, **settings)
    for index, target in enumerate(targets):
        torch.manual_seed(10 * seed + index)
        network = OpenUnmix([target], channels, **COMMON, **SETTINGS)
        randomise(network, 100 * seed + index)
        model.target_models[target].load_state_dict(network.state_dict())
    return model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_as_published(name):
    golden = np.load(GOLDEN)
    settings, channels = NETWORKS[name]
    torch.manual_seed(1)
    model = OpenUnmix(["vocals"], channels, **COMMON, **settings)
    state = model.state_dict()
    assert [f"{key} {tuple(value.shape)}" for key, value in state.items()] == golden[f"{name}/entries"].tolist()
    for (key, value), total in zip(state.items(), golden[f"{name}/sums"]):
        assert abs(value.double().sum().item() - total) <= 1e-6 * max(1, abs(total)), key
    randomise(model, 2)
    x = magnitudes(3, channels, settings["nfft"] // 2 + 1)
    for mode in ("eval", "train"):
        expected = golden[f"{name}/{mode}"]
        assert np.abs(expected).max() > 0.5
        for gradients in (False, True) if mode == "eval" else (False,):      # two implementations in evaluation
            torch.manual_seed(4)
            with torch.set_grad_enabled(gradients):
                found = model.train(mode == "train").masked(x)[..., ::3, :]
            assert difference(found.detach(), expected) < TOLERANCE, (mode, gradients)
    assert np.abs(model.bn3.running_mean.numpy() - golden[f"{name}/running_mean"]).max() < TOLERANCE


@pytest.mark.parametrize("seed", range(20))
def test_separators_as_published(seed):
    expected = np.load(GOLDEN)[f"separator/{seed}"]
    targets, channels, settings, length, level = list(separators())[seed]
    model = separator(seed, targets, channels, settings)
    with torch.no_grad():
        found = model(level * mixture(seed, 1, channels, length))
    assert found.shape == (1, len(model.sources), channels, length)
    assert difference(found[..., ::STRIDE], expected) < TOLERANCE


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_the_published_networks(name):
    settings, rate, channels, count = PUBLISHED[name]
    with torch.device("meta"):
        model = zoo.build("openunmix", sources=["vocals"], audio_channels=channels, samplerate=rate, segment=600,
                          **settings)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_frequencies_below_the_bandwidth():
    """The frequency at the bandwidth itself is included."""
    assert bins_below(16000, nfft=4096, samplerate=44100) == 1487
    assert bins_below(16000, nfft=1024, samplerate=16000) == 513 == bins_below(0, nfft=1024, samplerate=16000)
    assert bins_below(None, nfft=8, samplerate=8) == 5 and bins_below(2, nfft=8, samplerate=8) == 3
    for nfft, rate in ((4096, 44100), (1000, 48000), (512, 8000)):
        frequencies = np.linspace(0, rate / 2, nfft // 2 + 1)
        for bandwidth in (100, 999, 3000, 3999, 16000):
            assert bins_below(bandwidth, nfft=nfft, samplerate=rate) == (frequencies <= bandwidth).sum()


def test_sums_of_targets():
    """Accompaniment and residual, as the sums of what a Separator without `aggregate` gives."""
    settings = dict(niter=1, softmask=False, residual=True, wiener_win_len=50)
    whole = separator(0, TARGETS[:3], 2, settings)
    sums = {"accompaniment": ["drums", "bass", "residual"], "vocals": ["vocals"]}
    settings["aggregate"] = sums
    model = OpenUnmixSeparator(list(sums), 2, **COMMON, **SETTINGS, targets=TARGETS[:3], **settings).eval()
    model.load_state_dict(whole.state_dict())
    mix = mixture(5, 1, 2, 9000)
    with torch.no_grad():
        vocals, *rest = whole(mix).unbind(1)
        found = model(mix)
    assert torch.allclose(found[:, 1], vocals, atol=1e-6) and torch.allclose(found[:, 0], sum(rest), atol=1e-6)
    assert torch.allclose(found.sum(1), mix, atol=1e-4)          # with the residual, estimates add up to the mixture


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_filter_of_any_number_of_channels(channels):
    """The filter beside its formula in double precision, with inverse matrices."""
    torch.manual_seed(channels)
    y = torch.randn(2, 3, channels, 60, 5, dtype=torch.complex128)
    x = y.sum(1) + 0.1 * torch.randn(2, channels, 60, 5, dtype=torch.complex128)
    power = y.abs().square().mean(2)
    covariance = torch.einsum("bsatf,bsctf->bsfac", y, y.conj()) / (1e-10 + power.sum(2))[..., None, None]
    total = 1e-5 * torch.eye(channels) + torch.einsum("bstf,bsfac->btfac", power + 0j, covariance)
    expected = power[:, :, None] * torch.einsum("bsfac,btfcd,bdtf->bsatf", covariance, total.inverse(), x)
    found = maximised((y.real, y.imag), (x.real, x.imag), 1, time=-2)
    assert (found - expected).abs().max() < 1e-9 * expected.abs().max()
    single = maximised((y.real.float(), y.imag.float()), (x.real.float(), x.imag.float()), 1, time=-2)
    assert (single - expected).abs().max() < 2e-5 * expected.abs().max()


def test_blocks_of_frames_do_not_show():
    """Estimates without a filter do not depend on the blocks, and those of a batch are those of its mixtures."""
    model = separator(1, TARGETS[:2], 2, dict(niter=0, softmask=False, residual=False, wiener_win_len=300))
    mix = mixture(6, 2, 2, 128 * 700)
    with torch.no_grad():
        found = model(mix)
        alone = torch.cat([model(each[None]) for each in mix])
    assert torch.allclose(found, alone, atol=1e-6)
    frames = Frames(mix, n_fft=512, hop=128)
    assert len(frames.blocks(300)) == 3
    spectrum = frames.spectrum(frames.blocks(None)[0])
    masked = torch.stack([network.masked(spectrum.abs().transpose(-1, -2)) for network in model.networks], dim=1)
    phase = torch.polar(torch.ones(()), spectrum.angle())[:, None]
    expected = torch.istft((masked.transpose(-1, -2) * phase).transpose(-1, -2).flatten(0, 2), 512, 128,
                           window=torch.hann_window(512), length=mix.shape[-1]).view_as(found)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 100, 512, 5000])
def test_short_mixtures_and_magnitudes(length):
    model = separator(2, TARGETS[:2], 2, dict(niter=1, softmask=False, residual=False, wiener_win_len=300))
    mix = mixture(7, 1, 2, length)
    with torch.no_grad():
        assert model(mix).shape == (1, 2, 2, length)
        frames = max(1, 1 + (length - 512) // 128)
        assert model(mix, magnitudes=True).shape == (1, 2, 2, 257, frames)
        assert model(torch.zeros(1, 2, length)).abs().max() == 0


def test_statistics_of_the_input():
    model = OpenUnmix(["vocals"], 2, **COMMON, **SETTINGS)
    mean, deviation = torch.rand(257), torch.rand(257)
    deviation[3] = 0
    model.set_input_statistics(mean, deviation)
    assert torch.equal(model.input_mean, -mean[:193])
    assert model.input_scale[3] == 1 / (1e-4 * deviation.max()) and model.input_scale[5] == 1 / deviation[5]
    for wrong in (torch.zeros(257), torch.full((257,), torch.nan)):
        with pytest.raises(ValueError, match="finite and positive"):
            model.set_input_statistics(mean, wrong)


def test_no_filter_in_training():
    model = separator(3, TARGETS[:2], 2, dict(niter=1, softmask=False, residual=False, wiener_win_len=300))
    mix = mixture(8, 1, 2, 9000)
    for module in model.modules():
        if isinstance(module, torch.nn.LSTM):
            module.dropout = 0.
    plain = OpenUnmixSeparator(TARGETS[:2], 2, **COMMON, **{**SETTINGS, "niter": 0})
    plain.load_state_dict(model.state_dict())
    for module in plain.modules():
        if isinstance(module, torch.nn.LSTM):
            module.dropout = 0.
    assert torch.equal(model.train()(mix), plain.train()(mix))
    one_layer = OpenUnmix(["a"], 2, **COMMON, **{**SETTINGS, "nb_layers": 1})
    assert model.draws_in_training and not one_layer.draws_in_training


@pytest.mark.parametrize("name, sources, settings, message", [
    ("openunmix", ["a", "b"], {}, "has one target, got a, b"),
    ("openunmix", ["a"], {"hidden_size": 15}, "hidden_size=15 must be even"),
    ("openunmix", ["a"], {"nhop": 4096}, "nhop=4096 at most half"),
    ("openunmix", ["a"], {"hidden": 15}, "Did you mean 'hidden_size'"),
    ("openunmix_separator", ["a"], {}, "niter=1 needs at least two sources"),
    ("openunmix_separator", ["a", "b"], {"residual": True}, "have the outputs a, b, residual, not a, b"),
    ("openunmix_separator", ["c"], {"targets": ["a", "b"], "aggregate": {"c": ["a", "d"]}}, "adds up 'd'"),
    ("openunmix_separator", ["a", "b"], {"niter": -1}, "niter")])
def test_wrong_settings(name, sources, settings, message):
    with pytest.raises(ConfigError, match=message):
        zoo.build(name, sources=sources, audio_channels=2, samplerate=44100, segment=600, **settings)


def test_gradients_of_the_filter():
    """HDemucs may be trained through it."""
    torch.manual_seed(0)
    magnitudes = torch.rand(1, 2, 2, 3, 5, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(1, 2, 3, 5, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *args: wiener(*args, iterations=2, residual=True), (magnitudes, mix))
