"""Demucs, HDemucs and HTDemucs against published Demucs 4.1.0, from golden files that tests/golden/make_models.py wrote
there: names, order and initial values of parameters, and what the models answer."""

import inspect
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.sharpen import sharpen
from torch import nn

from demucs.layers.embedding import FrequencyEmbedding
from demucs.layers.positions import CapeTime, LearntTime, SinusoidalTime
from demucs.layers.transformer import TokenScale
from demucs.models import zoo

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
MODELS = ("demucs", "hdemucs", "htdemucs")
CASES = {model: json.loads((GOLDEN / f"{model}_cases.json").read_text()) for model in MODELS}
ALL = [(model, name) for model in MODELS for name in CASES[model]]
SOURCES = ["drums", "bass", "other", "vocals"]
STRIDE = 61            # of the stored samples
SHORT = 30011          # samples in training mode
SEED = 3               # of all generators in training mode
TOLERANCE = 1e-5       # max abs, input of unit scale
# By the largest output: processors round differently. Where one answers with 7, golden numbers and ours on a processor without
# AVX-512 are both 8e-6 away from float64.
RELATIVE = 2e-6


def build(model, name, **changes):
    case = CASES[model][name]
    torch.manual_seed(1)
    settings = {"segment": 40, **case["settings"], **changes}
    return zoo.build(model, sources=case.get("sources", SOURCES), audio_channels=case.get("audio_channels", 2),
                     samplerate=44100, **settings)


def mixture(model, name):
    case = CASES[model][name]
    return torch.randn(1, case.get("audio_channels", 2), case["length"], generator=torch.Generator().manual_seed(2))


@pytest.fixture
def published_chance(monkeypatch):
    """Draws of positions as published Demucs makes them from seeded generators of Python and numpy."""
    python, numpy = random.Random(SEED), np.random.RandomState(SEED)
    randint = torch.randint
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(python.randrange(high)) if size == () else
                        randint(high, size))
    monkeypatch.setattr(CapeTime, "_uniform", lambda self, bound, *shape: torch.from_numpy(
        numpy.uniform(-bound, bound, size=shape)))


@pytest.mark.parametrize("model, name", ALL, ids=[f"{model}-{name}" for model, name in ALL])
def test_same_numbers_as_published(model, name, published_chance):
    golden = np.load(GOLDEN / f"{model}.npz")
    ours = build(model, name)
    parameters = dict(ours.named_parameters())
    assert [f"{key} {tuple(p.shape)}" for key, p in parameters.items()] == golden[name + "/parameters"].tolist()
    for (key, parameter), total in zip(parameters.items(), golden[name + "/sums"]):
        assert abs(parameter.detach().double().sum().item() - total) <= 1e-6 * max(1, abs(total)), key

    sharpen(ours)
    mix = mixture(model, name)
    with torch.no_grad():
        estimate = ours.eval()(mix)[..., ::STRIDE].numpy()
        torch.manual_seed(SEED)
        training = ours.train()(mix[..., :SHORT])[..., ::STRIDE].numpy()
    assert np.abs(estimate).max() > 0.05
    for found, expected in ((estimate, golden[name]), (training, golden[name + "/train"])):
        assert np.abs(found - expected).max() <= max(TOLERANCE, RELATIVE * np.abs(expected).max())


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_covered(model):
    """Each key of the configuration stands at a value that is not its default in at least one of twelve cases."""
    defaults = {key: parameter.default for key, parameter in
                zoo.MODELS[model].settings.items()}
    unseen = {"samplerate"} | ({"segment"} if model != "htdemucs" else set())       # no effect on numbers
    refused = {"t_auto_sparsity"}
    for key, default in defaults.items():
        if key in unseen | refused | {"sources", "audio_channels"}:
            continue
        values = [case["settings"].get(key, default) for case in CASES[model].values()]
        assert any(value != default for value in values), key
    assert len(CASES[model]) >= 12


def every_part(model):
    """Modules whose work shows in the output: leaves, and those that use their children's weights directly."""
    direct = (FrequencyEmbedding, LearntTime, nn.MultiheadAttention)
    for name, module in model.named_modules():
        if isinstance(module, direct):
            yield name, module
        elif not list(module.children()) and name.rpartition(".")[2] != "out_proj" and \
                not isinstance(module, (nn.Identity, nn.Embedding, nn.ModuleList)):
            yield name, module


def extremes(parts):
    """Of parts of one class in one stack of layers (encoder, decoder, ...): the first, the last, and one between."""
    alike = {}
    for name, part in parts:
        alike.setdefault((name.partition(".")[0], type(part)), []).append((name, part))
    for group in alike.values():
        yield from {index: group[index] for index in (0, len(group) // 2, len(group) - 1)}.values()


def removed(module, inputs, output):
    """A part passed through where shapes allow, silenced where not."""
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]), *output[1:])
    if isinstance(module, (nn.MultiheadAttention, SinusoidalTime, CapeTime, LearntTime)):
        return torch.zeros_like(output)
    return inputs[0] if inputs[0].shape == output.shape else torch.zeros_like(output)


# Fewer frequencies and levels of the same parts: the test runs each model dozens of times. HTDemucs pads its input
# to a segment.
LESS = {"demucs": {"depth": 5}, "hdemucs": {"nfft": 1024, "depth": 5}, "htdemucs": {"t_layers": 3, "segment": 0.2}}


@pytest.mark.parametrize("model, name, length, only", [
    ("demucs", "version_2", 8000, ""), ("demucs", "branches_both_ways", 8000, ""),
    ("hdemucs", "retrained", 8193, ""), ("hdemucs", "six_sources", 8193, ""), ("hdemucs", "everything_else", 3001, ""),
    # Without normalisation below, the deep levels of this one hardly sound.
    ("hdemucs", "bands", 8193, r"(encoder\.[01]|decoder\.[34])\.layers"),
    ("htdemucs", "mmi", 8193, ""), ("htdemucs", "scaled", 8193, ""), ("htdemucs", "norms_over_tokens", 8193, ""),
    ("htdemucs", "sparse_mixed", 8193, ""),
])
def test_removing_any_part_shows(model, name, length, only):
    """X out in turn."""
    ours = build(model, name, **LESS[model]).eval()
    sharpen(ours)
    mix = mixture(model, name)[..., :length]
    with torch.no_grad():
        whole = ours(mix)
    every = [(key, part) for key, part in every_part(ours) if re.match(only, key)]
    parts = dict(extremes(every))
    parts.pop("fusion", None)            # the sum of one estimate is that estimate
    unused = {key for key, part in parts.items() if not all(p.requires_grad for p in part.parameters())}
    unseen = []
    for key, module in parts.items():
        handle = module.register_forward_hook(removed)
        with torch.no_grad():
            change = (ours(mix) - whole).abs().max().item()
        handle.remove()
        if not change > TOLERANCE and key not in unused:
            unseen.append((key, change))
    assert not unseen, unseen
    assert len(every) > (16 if only else 30)
    if model == "htdemucs":
        assert any(isinstance(part, TokenScale) for part in parts.values())


def test_the_mixer_of_hdemucs_starts_from_zeros():
    ours = build("hdemucs", "six_sources").eval()
    mix = mixture("hdemucs", "six_sources")
    with torch.no_grad():
        whole = ours(mix)
        ours._mixers["bottom"][0].register_forward_hook(lambda module, inputs, output: inputs)
        assert (ours(mix) - whole).abs().max() > TOLERANCE
