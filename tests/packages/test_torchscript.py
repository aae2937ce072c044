"""Models as TorchScript give the same estimates, and files of them what another program needs."""

import json

import pytest
import torch
from models.test_zoo import small

from demucs.errors import PackageError
from demucs.models import zoo
from demucs.packages import package, torchscript
from demucs.schema import ReleaseCard, load

# Of the largest output: the traced operations are those for any device, and sum in another order than those for CPUs.
TOLERANCE = 1e-5


def made(name, **settings):
    """A model with random values everywhere, as after a training, so that each of its parts has an effect."""
    model = small(name, **{"segment": 0.5, **settings})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def noise(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_model_is_traced(name):
    model = made(name)
    length = torchscript.usual_length(model)
    script = torchscript.traced(model, length)
    mix = torch.cat([noise(1, 2, length), 0.01 * noise(1, 2, length, seed=4), torch.zeros(1, 2, length)])
    with torch.no_grad():
        found, expected = script(mix), model(mix)
    assert found.shape == expected.shape
    for each, right in zip(found, expected):
        assert (each - right).abs().max() <= TOLERANCE * right.abs().max()


def test_other_shapes_are_refused():
    script = torchscript.traced(made("htdemucs_nc"), 1000)
    for shape in ((1, 2, 999), (1, 1, 1000), (2, 1000), (0, 2, 1000)):
        with pytest.raises(torch.jit.Error, match=r"expected a mixture \[batch, 2, 1000\]; pad shorter ones with zeros"):
            script(torch.zeros(shape))


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        torchscript.traced(made("htdemucs_nc").train(), 1000)


def card_of(model):
    return package.new_card(model, signature="cafe0001", epochs_done=1, epochs=2, valid={}, argv=["a=1"])


def test_a_file(tmp_path):
    model = made("htdemucs_nc", segment=0.25)
    card = torchscript.save(model, tmp_path / "cafe0001.pt", card=card_of(model))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cafe0001.json", "cafe0001.pt"]
    assert load(ReleaseCard, tmp_path / "cafe0001.json") == card and card.precision == "float32"
    extra = {torchscript.RECORD: ""}
    script = torch.jit.load(tmp_path / "cafe0001.pt", _extra_files=extra)
    record = json.loads(extra[torchscript.RECORD])
    assert record.pop("card")["model_hash"] == card.model_hash
    assert record == {"sources": ["drums", "bass", "other", "vocals"], "samplerate": 8000, "audio_channels": 2,
                      "length": 2000, "normalizes_songs": True}
    mix = noise(3, 2, 2000)
    with torch.no_grad():
        assert (script(mix) - model(mix)).abs().max() < 1e-6
    with pytest.raises(PackageError, match="cafe0001.pt: "):
        package.load(tmp_path / "cafe0001.pt")


def test_the_length_of_the_input():
    assert torchscript.usual_length(made("openunmix", segment=800.)) == 60 * 8000
    assert torchscript.usual_length(made("htdemucs", segment=3)) == 3 * 8000


def test_a_trace_that_differs_is_not_written(tmp_path, monkeypatch):
    model = made("htdemucs_nc", segment=0.25)
    right = torchscript.traced
    shifted = made("htdemucs_nc", segment=0.25)
    with torch.no_grad():
        next(shifted.parameters()).mul_(1.01)
    monkeypatch.setattr(torchscript, "traced", lambda _, length: right(shifted, length))
    with pytest.raises(PackageError, match="cafe0001.pt: the traced model differs from the model by .*; export it in plain"):
        torchscript.save(model, tmp_path / "cafe0001.pt", card=card_of(model))
    assert not list(tmp_path.iterdir())
