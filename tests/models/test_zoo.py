"""What every model of the zoo must do. A new model joins by an entry in SMALL."""

import inspect

import pytest
import torch

from demucs.errors import ConfigError
from demucs.models import zoo

SMALL = {"hdemucs": {"channels": 8, "depth": 5, "nfft": 1024}}
PARAMETERS = {"hdemucs": 568_576}
SOURCES = ["drums", "bass", "other", "vocals"]


def small(name):
    torch.manual_seed(0)
    return zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=8000, segment=2, **SMALL[name])


def test_every_model_is_tested():
    assert set(SMALL) == set(zoo.NAMES) == set(PARAMETERS)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_shapes_and_finite(name):
    model = small(name).eval()
    for length in (777, 8000):
        with torch.no_grad():
            estimate = model(torch.randn(2, 2, length))
        assert estimate.shape == (2, 4, 2, length)
        assert torch.isfinite(estimate).all()


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = small(name).train()
    model(torch.randn(2, 2, 8000)).square().mean().backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


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
    for name in set(zoo.BUILDERS) - set(zoo.NAMES):
        with pytest.raises(ConfigError, match="not built yet"):
            zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=44100, segment=10)
    assert all("sources" in inspect.signature(zoo.BUILDERS[name]).parameters for name in zoo.NAMES)
