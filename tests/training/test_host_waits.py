"""Training steps that do not wait for the device, and runs whose reports are read a step later."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from training.small import STEPS, numbers, settings, solver_in, stop_at, weights

from demucs.errors import TrainingError
from demucs.training import reports, stages
from demucs.training.interruption import Stopped
from demucs.training.optim import build_optimizer

pytestmark = pytest.mark.runs
TESTS = Path(__file__).resolve().parent.parent
LATER = ("checkpoint.steps=2", *STEPS)

SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
_setup_privateuseone_for_python_backend("pretended")
from host_waits import counted
from models.test_zoo import SMALL
from demucs.data.augment import Augment
from demucs.data.targets import Targets
from demucs.models import zoo
from demucs.schema import SOURCES
from demucs.training.distributed import Group
from demucs.training.ema import ModelEMA
from demucs.training.objectives import build_objective
from demucs.training.optim import build_optimizer
from demucs.training.reports import Copied
from demucs.training.stages import TrainStage
from demucs.training.svd import SvdSettings

device = torch.device("pretended", 0)
distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)

def waits_of(name, loss, penalty, late):
    svd = SvdSettings(penalty=penalty, min_size=0.01, dim=10, niters=2, powm=False, proba=1., conv_only=False,
                      convtr=True, bs=1)
    with counted() as waits:
        with device:
            model = zoo.build(name, **{"sources": SOURCES, "audio_channels": 2, "samplerate": 8000, "segment": 1,
                                       **SMALL[name]})
        optimizer = build_optimizer(model, kind="adam", lr=1e-3, momentum=.9, beta2=.999, weight_decay=0.)
        sources = list(model.sources)
        stage = TrainStage(model=model, wrapped=model, optimizer=optimizer, loader=None, sampler=None, augment=None,
                           averages=[ModelEMA(model, 0.9, device=device)], seed=0,
                           group=Group(0, 8 if late is None else 1, device),
                           objective=build_objective(loss, model, targets=sources, weights=[1.] * len(sources)),
                           targets=Targets(sources), svd=svd, clip_grad=1., prints=0, track_name=str, at_once=1,
                           late=late)
        augment = Augment(seed=0, shift=1000, remix_group=2)
        waits.found.clear()          # those of building a model
        stems = torch.empty(2, len(sources), 2, 5000).to(device, non_blocking=True)
        queued = stage._queue(augment(stems, epoch=0, step=0), epoch=0, step=0, names=[], more=lambda: [0.] * 4)
        assert isinstance(queued.report, Copied) == (late is None)
    return {"waits": dict(waits.found), "collectives": waits.collectives}
print(json.dumps([waits_of(*case) for case in CASES]))
"""


def counts(cases):
    """What `waits_of` returns for (model, loss, penalty, late), in one process, as the device is one of all of it."""
    script = SCRIPT.replace("CASES", repr(cases))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": "", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_no_step_waits_for_the_device():
    """Augmentation, two micro-batches, penalty, norm, clipping, optimiser, average and report, on 8 ranks: one
    collective, beside those of the gradients. The counter sees the waits of a report that is read at once."""
    cases = [("hdemucs", "l1", 1e-4, None), ("htdemucs", "mse", 0., None), ("demucs", "l1", 0., None),
             ("openunmix", "magnitude_mse", 1e-4, None), ("openunmix", "l1", 0., False)]
    *late, at_once = counts(cases)
    for case, found in zip(cases, late):
        assert found == {"waits": {}, "collectives": 1}, case
    assert {key.split()[0] for key in at_once["waits"]} == {"_local_scalar_dense"}
    assert all(" at training/" in key for key in at_once["waits"]), at_once


def later(solver, late=True):
    """`solver`, with an optimiser whose steps can be skipped on the device, and reports that are read late or not."""
    group = solver.train.optimizer.param_groups[0]
    for each in solver.train.optimizer.param_groups:
        each["fused"] = True
    assert group["fused"]
    solver.train.late = late
    return solver


@pytest.fixture
def config(songs):
    return settings(songs, *LATER)


def test_the_same_run_as_with_reports_read_at_once(config, tmp_path):
    at_once = later(solver_in(tmp_path / "at once", config), late=False)
    late = later(solver_in(tmp_path / "late", config))
    for solver in (at_once, late):
        solver.run()
    assert torch.equal(weights(at_once), weights(late)) and numbers(at_once) == numbers(late)
    assert all(torch.equal(at_once.averages[name].state[key], value)
               for name, average in late.averages.items() for key, value in average.state.items())


def test_a_stop_between_late_reports_is_exact(config, tmp_path):
    """At each of the first looks, of which each step has one."""
    straight = later(solver_in(tmp_path / "straight", config))
    straight.run()
    positions = set()
    for moment in range(1, 5):
        stopped = later(solver_in(tmp_path / str(moment), config))
        stop_at(stopped, moment)
        with pytest.raises(Stopped, match="SIGUSR2"):
            stopped.run()
        again = later(solver_in(tmp_path / str(moment), config))
        positions.add(again.position.step)
        assert again.position.average.count == 2 * again.position.step
        again.run()
        assert torch.equal(weights(straight), weights(again)) and numbers(straight) == numbers(again)
    assert {2, 3} <= positions


@pytest.mark.parametrize("what", ["loss", "gradient norm"])
def test_a_step_that_is_not_finite_changes_no_weight(what, config, tmp_path, monkeypatch):
    """Nor does the one behind it, which is queued before the host knows. The error names the first one's tracks."""
    solver = later(solver_in(tmp_path / "x", config))
    stage, seen = solver.train, []
    queue = stage._queue

    def watched(sources, *, step, **given):
        seen.append(weights(solver).clone())
        if step == 1 and what == "loss":
            sources = sources * float("inf")
        with monkeypatch.context() as patch:
            if step == 1 and what != "loss":
                patch.setattr(stages, "gradient_norm", lambda model: torch.tensor(float("nan")))
            return queue(sources, step=step, **given)
    monkeypatch.setattr(stage, "_queue", watched)
    with pytest.raises(TrainingError, match=f"the {what} is not finite in epoch 1, step 2; the weights were not "
                                            "changed. The batch came from: .*Song"):
        solver.run()
    assert len(seen) == 3 and not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2]) and torch.equal(seen[1], weights(solver))
    states = stage.optimizer.state.values()
    assert all(state["step"] == 1 and torch.isfinite(state["exp_avg"]).all() for state in states)


def test_an_optimiser_state_from_another_device_does_not_decide_how_steps_are_made():
    def made(fused):
        model = torch.nn.Linear(3, 2)
        optimizer = build_optimizer(model, kind="adam", lr=0.1, momentum=0.9, beta2=0.9, weight_decay=0., fused=fused)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return model, optimizer
    for fused, other in ((True, None), (None, True)):
        model, optimizer = made(fused)
        optimizer.load_state_dict(made(other)[1].state_dict())
        assert optimizer.param_groups[0]["fused"] is fused
        optimizer.step()
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_reports_of_several_ranks(monkeypatch):
    """The sums are over ranks, what is said of this rank is its own."""
    monkeypatch.setattr(distributed, "all_reduce", lambda sums: sums.add_(torch.tensor([1., 0., 2.])))
    group = stages.Group(0, 2, torch.device("cpu"))
    here, sums = reports.summed_on_device([torch.tensor(True), torch.tensor(False)], [3.], group)
    report = reports.Copied({"loss": torch.tensor(0.1), "grad": torch.tensor(2.)}, here, sums).read()
    assert report.metrics == {"loss": float(np.float32(0.1)), "grad": 2.}
    assert report.here == [0., 1.] and report.sums == [1., 1., 5.]
