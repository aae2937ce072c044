"""HDemucs against published Demucs 4.1.0, from golden files that tests/golden/make_hdemucs.py wrote there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.sharpen import sharpen
from torch import nn

from demucs.errors import ConfigError
from demucs.layers.blocks import DecoderBlock, EncoderBlock
from demucs.layers.embedding import FrequencyEmbedding
from demucs.models import zoo

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
CASES = json.loads((GOLDEN / "hdemucs_cases.json").read_text())
FACTS = json.loads((GOLDEN / "hdemucs.json").read_text())
SOURCES = ["drums", "bass", "other", "vocals"]
STRIDE = 61
SHORT = 30011
TOLERANCE = 1e-5       # max abs, input of unit scale


def build(name, seed=1):
    case = CASES[name]
    torch.manual_seed(seed)
    return zoo.build("hdemucs", sources=case.get("sources", SOURCES), audio_channels=case.get("audio_channels", 2),
                     samplerate=44100, segment=40, **case["settings"])


def mixture(name):
    case = CASES[name]
    return torch.randn(1, case.get("audio_channels", 2), case["length"], generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", CASES)
def test_same_numbers_as_published(name):
    golden = np.load(GOLDEN / "hdemucs.npz")
    model = build(name)
    ours = [[key, list(p.shape)] for key, p in model.named_parameters()]
    assert ours == [[key, shape] for key, shape, _ in FACTS[name]["parameters"]]
    for (key, parameter), (_, _, total) in zip(model.named_parameters(), FACTS[name]["parameters"]):
        assert abs(parameter.detach().double().sum().item() - total) <= 1e-6 * max(1, abs(total)), key

    sharpen(model)
    mix = mixture(name)
    with torch.no_grad():
        estimate = model.eval()(mix)[..., ::STRIDE].numpy()
        training = model.train()(mix[..., :SHORT])[..., ::STRIDE].numpy()
    assert np.abs(estimate).max() > 0.1
    assert np.abs(estimate - golden[name]).max() <= TOLERANCE
    assert np.abs(training - golden[name + "/train"]).max() <= TOLERANCE


def every_part(model):
    """Modules whose work shows in the output: leaves, and those that use their children's weights directly."""
    for name, module in model.named_modules():
        if isinstance(module, FrequencyEmbedding):
            yield name, module
        elif not list(module.children()) and not isinstance(module, (nn.Identity, nn.Embedding, nn.ModuleList)):
            yield name, module


@pytest.mark.parametrize("name, length, only", [
    ("retrained", 16385, ""), ("six_sources", 16385, ""), ("everything_else", 6001, ""),
    # Without normalisation below, the deep levels of this one hardly sound.
    ("bands", 16385, r"(encoder\.[01]|decoder\.[45])\.layers"),
])
def test_removing_any_part_shows(name, length, only):
    """Each part is taken out in turn: passed through where shapes allow, silenced where not."""
    model = build(name).eval()
    sharpen(model)
    mix = mixture(name)[..., :length]
    with torch.no_grad():
        whole = model(mix)

    def passed_through(module, inputs, output):
        if isinstance(output, tuple):
            return (torch.zeros_like(output[0]), *output[1:])
        return inputs[0] if inputs[0].shape == output.shape else torch.zeros_like(output)

    parts = dict(every_part(model))
    if only:
        parts = {key: part for key, part in parts.items() if re.match(only, key)}
    # The start from zeros makes the mixer its own removal only where its input is zero, which it never is; the sum of
    # one estimate is that estimate.
    parts.pop("fusion", None)
    unseen = []
    for key, module in parts.items():
        handle = module.register_forward_hook(passed_through) if key != "mixer" else \
            module.register_forward_hook(lambda module, inputs, output: inputs)
        with torch.no_grad():
            change = (model(mix) - whole).abs().max().item()
        handle.remove()
        if not change > TOLERANCE:
            unseen.append((key, change))
    assert not unseen, unseen
    assert len(parts) > 40


def test_branches_are_summed():
    model = build("six_sources").eval()
    mix = mixture("six_sources")
    seen = []
    model.fusion.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model(mix)
    (estimates, total), = seen
    assert len(estimates) == 2
    assert torch.equal(total, estimates[0] + estimates[1])


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
