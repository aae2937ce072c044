"""The interface that all models implement."""

import math

import pytest
import torch
from models.test_zoo import SMALL, small
from torch import nn

from demucs.models import protocol, zoo
from demucs.models.protocol import SeparationModel
from demucs.separation.song import separate_song


class Foreign(nn.Module):
    """A separator of another program, which knows nothing of the protocol."""
    sources, audio_channels, samplerate, segment = ["a", "b"], 1, 100, 2.

    def forward(self, mix):
        return torch.stack([mix, 0 * mix], dim=1)


@pytest.mark.parametrize("name", SMALL)
def test_every_model_answers(name):
    model = small(name)
    assert isinstance(model, SeparationModel)
    assert model.normalizes_songs != name.startswith("openunmix") and model.input_length(1000) >= 1000
    tied = zoo.MODELS[name].tied_to_training_length
    assert model.longest_segment == (model.segment if tied else math.inf)
    assert tied == name.startswith(("htdemucs", "hybrid"))
    model.after_step()
    entry = zoo.MODELS[name]
    assert entry.description and {"sources", "audio_channels", "samplerate", "segment"} <= entry.settings.keys()


def test_defaults_for_modules_of_other_programs():
    model = Foreign()
    assert protocol.longest_segment(model) == math.inf and protocol.normalizes_songs(model)
    assert protocol.input_length(model, 77) == 77
    model.valid_length = lambda length: length + 3
    assert protocol.input_length(model, 77) == 80


def test_a_model_that_takes_songs_as_they_are():
    mix = 3 + 5 * torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    seen = []

    class Watching(Foreign):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    model = Watching()
    separate_song(model, mix, shifts=0, split=False)
    assert seen[-1].mean().abs() < 1e-5 and (seen[-1].std() - 1).abs() < 1e-5
    model.normalizes_songs = False
    estimates = separate_song(model, mix, shifts=0, split=False)
    assert torch.equal(seen[-1][0], mix) and torch.equal(estimates[0], mix)


def test_a_transformer_is_asked_for_whole_segments():
    model = small("htdemucs")
    assert model.input_length(100) == int(model.segment * model.samplerate)
    assert model.input_length(100, segment=0.5) == int(0.5 * model.samplerate)
    with pytest.raises(ValueError):
        model.input_length(model.samplerate, segment=0.5)
