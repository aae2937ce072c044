"""Requirements on every model of the zoo. A new model needs an entry in SMALL."""

import inspect

import pytest
import torch

from demucs.errors import ConfigError
from demucs.models import zoo

# The variant i with fewer frequencies, so that a second has enough frames for its innermost levels.
OF_I = {"kernel_size": [8, 8, 8, 4, 4, 4], "stride": [4, 4, 4, 4, 1, 1], "padding": [2, 2, 2, 0, 1, 1]}
SMALL = {"demucs": {"channels": 8, "depth": 5, "dconv_attn": 3, "dconv_lstm": 4},
         "hdemucs": {"channels": 8, "depth": 5, "nfft": 1024},
         "htdemucs": {"channels": 8, "t_layers": 3, "segment": 1},
         "torch_hdemucs": {"channels": 8},
         "openunmix": {"sources": ["vocals"], "hidden_size": 16, "nb_layers": 1, "nfft": 512, "nhop": 128, "bandwidth": 3000},
         "openunmix_separator": {"hidden_size": 16, "nb_layers": 1, "nfft": 512, "nhop": 128, "bandwidth": 3000},
         "hybrid": {"channels": 8, "branches": {"low": {"nfft": 1024, "overlap": 8}, "high": {"nfft": 512}, "time": {}},
                    "mixers": {"mixer": {"layers": 2, "kernel": "linear", "resolutions": "weights"}},
                    "fusion": {"kind": "weights"}},
         "htdemucs_p": {"channels": 8},
         "htdemucs_i": {"channels": 16, "branches": {
             "frequency": {"nfft": 512, **OF_I, "mixed_skips": True},
             "time": {"growth": [2, 2, 1], "depth": 4, "joins": "frequency",
                      **{key: value[:3] + [value[3] if key != "padding" else 0] for key, value in OF_I.items()}}}},
         "htdemucs_c": {"channels": 8}, "htdemucs_s": {"channels": 8}, "htdemucs_nc": {"channels": 8, "depth": 5},
         **{f"htdemucs_{name}": {"channels": 8, "growth": 1} for name in ("d", "d2", "d3", "d4", "n", "nn", "nn_conv", "nf")},
         "htdemucs_dnf": {"channels": 8, "growth": 1, "fusion": {"kind": "unet", "channels": 8, "width": 5}},
         "htdemucs_dn": {"channels": 8, "growth": 1, "fusion": {"kind": "unet", "channels": 8, "width": 5}}}
PARAMETERS = {"demucs": 510_844, "hdemucs": 568_576, "htdemucs": 564_780, "torch_hdemucs": 2_351_808,
              "openunmix": 18_568, "openunmix_separator": 4 * 18_568,
              "hybrid": 624_080, "htdemucs_p": 2_376_332, "htdemucs_i": 993_266, "htdemucs_c": 2_107_980,
              "htdemucs_s": 244_302, "htdemucs_nc": 237_356, "htdemucs_d": 32_546, "htdemucs_d2": 32_242,
              "htdemucs_d3": 45_732, "htdemucs_d4": 43_014, "htdemucs_n": 67_803, "htdemucs_nn": 61_623,
              "htdemucs_nn_conv": 464_600, "htdemucs_nf": 90_904, "htdemucs_dnf": 83_304, "htdemucs_dn": 64_555}
SOURCES = ["drums", "bass", "other", "vocals"]


def small(name, **settings):
    torch.manual_seed(0)
    return zoo.build(name, **{"sources": SOURCES, "audio_channels": 2, "samplerate": 8000, "segment": 2, **SMALL[name],
                              **settings})


def test_every_model_is_tested():
    assert set(SMALL) == set(zoo.NAMES) == set(PARAMETERS)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_shapes_and_finite(name):
    model = small(name).eval()
    for length in (777, 8000):
        with torch.no_grad():
            estimate = model(torch.randn(2, 2, length))
        assert estimate.shape == (2, len(model.sources), 2, length)
        assert torch.isfinite(estimate).all()


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = small(name).train()
    model(torch.randn(2, 2, 8000)).square().mean().backward()
    learnt = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert not [key for key, p in learnt.items() if p.grad is None or not p.grad.abs().sum() > 0]
    # torchaudio has one normalisation that it does not use.
    assert len(list(model.named_parameters())) - len(learnt) == (2 if name == "torch_hdemucs" else 0)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_size(name):
    assert sum(p.numel() for p in small(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", zoo.NAMES)
def test_remembers_how_it_was_built(name):
    model = small(name)
    again = zoo.build(model.zoo_name, **model.zoo_kwargs)
    again.load_state_dict(model.state_dict())
    mix = torch.randn(1, 2, 4000)
    with torch.no_grad():
        assert torch.equal(model.eval()(mix), again.eval()(mix))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_forward_leaves_the_model_as_it_was(name):
    model = small(name)
    before = {key: id(value) for key, value in vars(model).items()}
    model(torch.randn(1, 2, 4000))
    assert {key: id(value) for key, value in vars(model).items()} == before


def test_names():
    with pytest.raises(ConfigError, match="Did you mean 'hdemucs'"):
        zoo.build("hdemuc", sources=SOURCES, audio_channels=2, samplerate=44100, segment=10)
    assert all("sources" in zoo.MODELS[name].settings for name in zoo.NAMES)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_one_sample_and_silence(name):
    model = small(name).eval()
    with torch.no_grad():
        assert torch.isfinite(model(torch.ones(1, 2, 1))).all()
        assert torch.isfinite(model(torch.zeros(1, 2, 3000))).all()


@pytest.mark.parametrize("name", zoo.NAMES)
def test_says_whether_it_draws(name):
    """Two training passes differ only where a model says that it draws random numbers in training."""
    model = small(name).train()
    assert not model.draws_in_training
    mix = torch.randn(1, 2, 4000)
    with torch.no_grad():
        assert torch.equal(model(mix), model(mix))
