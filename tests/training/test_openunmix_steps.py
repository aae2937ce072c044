"""Five training steps against the package openunmix 1.3.0, from a golden file of make_openunmix_training.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from demucs.data.targets import Targets
from demucs.models import zoo
from demucs.training.distributed import Group
from demucs.training.objectives import build_objective
from demucs.training.optim import build_optimizer
from demucs.training.stages import TrainStage
from demucs.training.svd import SvdSettings

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SPEC = json.loads((GOLDEN / "openunmix_training_cases.json").read_text())
NO_SVD = SvdSettings(penalty=0., min_size=0.1, dim=1, niters=2, powm=False, proba=1., conv_only=False, convtr=True,
                     bs=1)
TOLERANCE = 1e-5


def statistics(bins):
    chance = np.random.default_rng(5)
    return chance.uniform(0.5, 3, bins), chance.uniform(0.5, 3, bins)


def batch(step, channels):
    draw = torch.Generator().manual_seed(step)
    shape = SPEC["batch"], 2, channels
    level = torch.rand(*shape, SPEC["length"] // 1000, generator=draw).repeat_interleave(1000, dim=-1)
    return level * torch.randn(*shape, SPEC["length"], generator=draw)


@pytest.mark.parametrize("name", SPEC["cases"])
def test_five_steps_as_openunmix(name):
    case, golden = dict(SPEC["cases"][name]), np.load(GOLDEN / "openunmix_training.npz")
    channels = case.pop("channels")
    torch.manual_seed(3)
    model = zoo.build("openunmix", sources=["vocals"], audio_channels=channels, samplerate=SPEC["samplerate"],
                      segment=1, **case)
    model.set_input_statistics(*map(torch.from_numpy, statistics(case["nfft"] // 2 + 1)))
    model.lstm.dropout = 0
    optimizer = build_optimizer(model, kind="adam", lr=SPEC["lr"], momentum=0.9, beta2=0.999,
                                weight_decay=SPEC["weight_decay"])
    gradients = []
    optimizer.register_step_pre_hook(lambda *_: gradients.append(torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters()])[::SPEC["stride"]].numpy().copy()))
    stage = TrainStage(model=model, wrapped=model, optimizer=optimizer, loader=None, sampler=None, augment=None,
                       averages=[], group=Group(0, 1, torch.device("cpu")), seed=0, svd=NO_SVD, clip_grad=0, prints=0,
                       track_name=str,
                       objective=build_objective("magnitude_mse", model, targets=["vocals"], weights=[1.]),
                       targets=Targets(["rest", "vocals"], {"vocals": ["vocals"]}))
    model.train()
    losses = [stage.step(batch(step, channels), epoch=0, step=step, names=[])["loss"] for step in range(SPEC["steps"])]
    expected = golden[f"{name}/losses"]
    assert np.abs(np.array(losses) / expected - 1).max() <= TOLERANCE
    norms = np.sqrt(np.square(golden[f"{name}/gradients"]).sum(axis=1))
    assert (np.abs(np.stack(gradients) - golden[f"{name}/gradients"]).max(axis=1) / norms).max() <= TOLERANCE
    state = model.state_dict()
    assert [f"{name}/state/{key}" for key in state] == [key for key in golden.files if key.startswith(f"{name}/state/")]
    for key, value in state.items():
        wanted = golden[f"{name}/state/{key}"]
        assert np.abs(value.numpy() - wanted).max() <= TOLERANCE * max(1, np.abs(wanted).max()), key
    initial = -statistics(case["nfft"] // 2 + 1)[0][:len(state["input_mean"])]
    assert not np.allclose(golden[f"{name}/state/input_mean"], initial, atol=1e-5)       # the scaler is trained, too


def test_versions_are_recorded():
    versions = np.load(GOLDEN / "openunmix_training.npz")["versions"].tolist()
    assert versions[0] == "openunmix 1.3.0" and versions[1].startswith("torch 2.")
