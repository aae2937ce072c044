"""Drawings of built models."""

import pytest

from demucs.models import zoo
from demucs.models.drawing import draw


@pytest.mark.parametrize("name", ["hdemucs", "htdemucs"])
def test_a_built_model_is_drawn(name, tmp_path):
    model = zoo.build(name, sources=["drums", "vocals"], audio_channels=2, samplerate=44100, segment=2, channels=8)
    draw(model, tmp_path / f"{name}.svg")
    assert (tmp_path / f"{name}.svg").read_text().count("<path") > 20
