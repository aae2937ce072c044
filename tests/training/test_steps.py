"""Five training steps against published Demucs's solver, from golden files (tests/golden/make_training.py)."""

import contextlib
import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from demucs.data.targets import Targets
from demucs.dsp.randomness import seeded_torch
from demucs.layers.dconv import LayerScale
from demucs.models import zoo
from demucs.training import stages
from demucs.training.distributed import Group
from demucs.training.ema import ModelEMA
from demucs.training.objectives import WaveformObjective
from demucs.training.optim import build_optimizer, gradient_norm
from demucs.training.stages import TrainStage
from demucs.training.svd import SvdSettings, exact_svd_penalty

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SPEC = json.loads((GOLDEN / "training_cases.json").read_text())
SOURCES = ["drums", "bass", "other", "vocals"]
SVD_DEFAULTS = {"penalty": 0., "min_size": 0.1, "dim": 1, "niters": 2, "powm": False, "proba": 1., "conv_only": False,
                "convtr": True, "bs": 1}       # of the published function
TOLERANCE = 1e-5


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])[::SPEC["stride"]].numpy().copy()


@pytest.mark.parametrize("name", SPEC["cases"])
def test_five_steps_as_published(name, monkeypatch):
    case = SPEC["cases"][name]
    golden = np.load(GOLDEN / "training.npz")
    torch.manual_seed(3)
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=44100, segment=40, **SPEC["model"])
    for module in model.modules():
        if isinstance(module, LayerScale):
            module.scale.data[:] = 0.5
    svd = SvdSettings(**{**SVD_DEFAULTS, **case["svd"]})
    optimizer = build_optimizer(model, kind=case["optim"], **{key: case[key] for key in (
        "lr", "momentum", "beta2", "weight_decay")})
    per_batch, per_epoch = ModelEMA(model, 0.9, device="cpu"), ModelEMA(model, 0.5, device="cpu")
    parameters = list(model.parameters())
    gradients = []
    optimizer.register_step_pre_hook(lambda *_: gradients.append(flat([p.grad for p in parameters])))
    stage = TrainStage(model=model, wrapped=model, optimizer=optimizer, loader=None, sampler=None, augment=None,
                       averages=[per_batch], group=Group(0, 1, torch.device("cpu")), seed=0,
                       objective=WaveformObjective(case["loss"], model.sources, case["weights"]),
                       targets=Targets(model.sources), svd=svd, clip_grad=case["clip_grad"], prints=0,
                       track_name=str)

    @contextlib.contextmanager
    def seeded_as_published(seed, purpose, epoch, step, device):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 + step)
            yield
    monkeypatch.setattr(stages, "seeded_torch", seeded_as_published)

    model.train()
    numbers = []
    for step in range(SPEC["steps"]):
        batch = torch.randn(SPEC["batch"], 4, 2, SPEC["length"], generator=torch.Generator().manual_seed(step))
        metrics = stage.step(batch, epoch=0, step=step, names=[])
        per_epoch.update()
        numbers.append([metrics[key] for key in ("loss", "reco", "grad", "reco_drums", "reco_vocals")]
                       + [metrics.get("penalty", 0.)])
    expected = golden[name + "/numbers"]
    assert np.abs(np.array(numbers) / np.maximum(expected, 1) - expected / np.maximum(expected, 1)).max() <= TOLERANCE
    norms = np.array(numbers)[:, 2]
    if case["clip_grad"]:
        norms = np.minimum(norms, case["clip_grad"])
    error = np.abs(np.stack(gradients) - golden[name + "/gradients"]).max(axis=1)
    assert (error / norms).max() <= TOLERANCE
    for key, value in (("weights", flat(parameters)),
                       ("ema_batch", flat([per_batch.state[n] for n, _ in model.named_parameters()])),
                       ("ema_epoch", flat([per_epoch.state[n] for n, _ in model.named_parameters()]))):
        assert np.abs(value - golden[f"{name}/{key}"]).max() <= TOLERANCE, key
    if svd.penalty:
        expected = float(golden[name + "/exact_penalty"])
        assert abs(exact_svd_penalty(model, svd) - expected) <= TOLERANCE * expected
        assert expected > 1


def test_svd_draws_are_keyed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    draws = []
    for key in ((1, 2), (1, 2), (1, 3)):
        with seeded_torch(0, "svd", *key):
            draws.append(torch.randn(3))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind, theirs", [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_optimisers_are_those_of_torch(kind, theirs):
    """Bit by bit, with hooks, without gradients in a step, and continued from a state."""
    def begin(build):
        model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))
        with torch.no_grad():
            for index, parameter in enumerate(model.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
        optimizer = build(model)
        steps = []
        optimizer.register_step_pre_hook(lambda *_: steps.append(torch.is_grad_enabled()))
        return model, optimizer, steps

    def train(model, optimizer, first):
        for step in range(first, first + 3):
            optimizer.zero_grad()
            model(torch.randn(4, 5, generator=torch.Generator().manual_seed(step))).square().sum().backward()
            optimizer.step()
    settings = dict(lr=0.01, momentum=0.8, beta2=0.9, weight_decay=0.1)
    ours = begin(lambda model: build_optimizer(model, kind=kind, **settings))
    expected = begin(lambda model: theirs(model.parameters(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.1))
    again = begin(lambda model: build_optimizer(model, kind=kind, **settings))
    for model, optimizer, _ in (ours, expected):
        train(model, optimizer, 0)
    again[0].load_state_dict(ours[0].state_dict())
    again[1].load_state_dict(copy.deepcopy(ours[1].state_dict()))
    for model, optimizer, _ in (ours, expected, again):
        train(model, optimizer, 3)
    for model, optimizer, _ in (ours, again):
        assert all(torch.equal(*pair) for pair in zip(model.parameters(), expected[0].parameters()))
        found, wanted = optimizer.state_dict(), expected[1].state_dict()
        assert found["param_groups"] == wanted["param_groups"] and found["state"].keys() == wanted["state"].keys()
        assert all(torch.equal(value, wanted["state"][key][name]) for key, values in found["state"].items()
                   for name, value in values.items())
    assert len(ours[2]) == 6 and ours[2] == expected[2]


def test_one_norm_for_the_record_and_for_clipping():
    """Bit by bit that of the gradients one after the other, and clipped as by torch, which computes it again."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, (5, 1)), torch.nn.LSTM(7, 9), torch.nn.Linear(40, 3))
    draw = torch.Generator().manual_seed(0)
    for index, parameter in enumerate(model.parameters()):
        parameter.grad = torch.randn(parameter.shape, generator=draw) * 10. ** (index - 4)
    other = copy.deepcopy(model)
    for parameter, same in zip(other.parameters(), model.parameters()):
        parameter.grad = same.grad.clone()
    norm = gradient_norm(model)
    assert torch.equal(norm, torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm())
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), 0.5, norm)
    torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
    assert all(torch.equal(one.grad, two.grad) for one, two in zip(model.parameters(), other.parameters()))


IMPORTS = """
import sys
import torch
from demucs.training.optim import build_optimizer
model = torch.nn.Linear(2, 2)
optimizer = build_optimizer(model, kind="adam", lr=0.1, momentum=0.9, beta2=0.999, weight_decay=0.)
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""


@pytest.mark.runs
def test_optimisers_import_no_compiler():
    """With all that it needs, it takes longer to import than torch, and nothing uses it."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
