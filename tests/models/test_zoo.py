"""Requirements on every model of the zoo. A new model needs an entry in SMALL."""

import inspect

import pytest
import torch

from demucs.errors import ConfigError
from demucs.models import zoo

SMALL = {"demucs": {"channels": 8, "depth": 5, "dconv_attn": 3, "dconv_lstm": 4},
         "hdemucs": {"channels": 8, "depth": 5, "nfft": 1024},
         "htdemucs": {"channels": 8, "t_layers": 3, "segment": 1},
         "torch_hdemucs": {"channels": 8},
         "openunmix": {"sources": ["vocals"], "hidden_size": 16, "nb_layers": 1, "nfft": 512, "nhop": 128, "bandwidth": 3000},
         "openunmix_separator": {"hidden_size": 16, "nb_layers": 1, "nfft": 512, "nhop": 128, "bandwidth": 3000}}
PARAMETERS = {"demucs": 510_844, "hdemucs": 568_576, "htdemucs": 564_780, "torch_hdemucs": 2_351_808,
              "openunmix": 18_568, "openunmix_separator": 4 * 18_568}
SOURCES = ["drums", "bass", "other", "vocals"]


def small(name):
    torch.manual_seed(0)
    return zoo.build(name, **{"sources": SOURCES, "audio_channels": 2, "samplerate": 8000, "segment": 2, **SMALL[name]})


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
