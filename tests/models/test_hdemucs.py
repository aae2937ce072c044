"""HDemucs beyond its numbers, which test_published_models.py checks: lengths, silence, refused settings, its rows."""

import json
from pathlib import Path

import pytest
import torch

from demucs.errors import ConfigError
from demucs.layers.blocks import DecoderBlock, EncoderBlock
from demucs.models import zoo

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
CASES = json.loads((GOLDEN / "hdemucs_cases.json").read_text())
SOURCES = ["drums", "bass", "other", "vocals"]


def build(name, seed=1):
    case = CASES[name]
    torch.manual_seed(seed)
    return zoo.build("hdemucs", sources=case.get("sources", SOURCES), audio_channels=case.get("audio_channels", 2),
                     samplerate=44100, segment=40, **case["settings"])


def mixture(name):
    case = CASES[name]
    return torch.randn(1, case.get("audio_channels", 2), case["length"], generator=torch.Generator().manual_seed(2))


def test_branches_are_summed():
    model = build("six_sources").eval()
    mix = mixture("six_sources")
    seen = []
    model.fusion.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model(mix)
    (estimates, total), = seen
    assert len(estimates) == 2
    assert torch.equal(total, estimates["time"] + estimates["frequency"])


@pytest.mark.parametrize("length", [1, 2, 255, 1023, 1024, 1025, 44100])
def test_any_length(length):
    model = build("six_sources").eval()
    with torch.no_grad():
        estimate = model(torch.randn(2, 2, length))
    assert estimate.shape == (2, 6, 2, length)
    assert torch.isfinite(estimate).all()


def test_silence_stays_silent():
    """Statistics of silence are zero; nothing may divide by them."""
    model = build("published_yaml").eval()
    with torch.no_grad():
        estimate = model(torch.zeros(1, 2, 20000))
    assert torch.equal(estimate, torch.zeros_like(estimate))


@pytest.mark.parametrize("settings, word", [
    ({"hybrid": False, "hybrid_old": True}, "hybrid_old"),
    ({"wiener_iters": 1, "end_iters": 0}, "wiener_iters"),
    ({"nfft": 2048}, "nfft"),
    ({"multi_freqs": [0.5], "multi_freqs_depth": 6}, "multi_freqs_depth"),
    ({"norm_groups": 5}, "norm_groups"),
    ({"channles": 8}, "channels"),
])
def test_contradicting_settings_name_the_key(settings, word):
    with pytest.raises(ConfigError, match=word):
        zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=44100, segment=10, **settings)


def test_blocks_carry_their_rows():
    """The towers of the default model: five frequency levels, then one over time; the time branch ends at the merge."""
    model = build("published_yaml")
    assert [block.spec.axis for block in model.encoder] == ["frequency"] * 5 + ["time"]
    assert [block.spec.merge for block in model.tencoder] == [False] * 4 + [True]
    assert all(isinstance(block, EncoderBlock) for block in model.encoder)
    assert all(isinstance(block, DecoderBlock) for block in model.tdecoder)
    assert [block.spec for block in reversed(model.tdecoder)][1:] == [block.spec for block in model.tencoder][1:]
