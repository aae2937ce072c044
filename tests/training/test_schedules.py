"""Learning rates that change between epochs, and trainings that end early."""

import math

import pytest
import torch
from training.small import Stop, settings, solver_in, stop_at_next_save, trained_in_parts, weights

from demucs.errors import ConfigError
from demucs.schema import EpochRecord
from demucs.training.best import Selection
from demucs.training.schedules import ScheduleSettings, build_schedule

pytestmark = pytest.mark.runs

PLAIN = dict(kind="none", factor=0.5, patience=1, cooldown=0, warmup=0, min_lr=0.)


def rates(values, epochs=None, lr=1., **settings):
    """The rate of each epoch whose validation gives `values`."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = build_schedule(ScheduleSettings(**{**PLAIN, **settings}), optimizer, epochs or len(values))
    found = []
    for value in values:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.epoch_done(value)
    return found


def test_none_is_constant():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.)
    assert build_schedule(ScheduleSettings(**PLAIN), optimizer, 3) is None


def test_plateau():
    assert rates([5, 4, 4, 4, 4, 4, 3], kind="plateau") == [1, 1, 1, 1, 0.5, 0.5, 0.25]
    assert rates([5] * 6, kind="plateau", min_lr=0.4)[-1] == 0.4


def test_cosine():
    found = rates([1] * 11, kind="cosine")
    assert found == pytest.approx([0.5 + 0.5 * math.cos(math.pi * epoch / 10) for epoch in range(11)], abs=1e-12)
    warm = rates([1] * 12, kind="cosine", warmup=2, min_lr=0.1)
    assert warm[:3] == pytest.approx([1 / 3, 2 / 3, 1]) and warm[-1] == pytest.approx(0.1) and warm[3] < 1


def test_restarts_are_those_of_torch():
    """One cycle is torch's CosineAnnealingLR; equal cycles are its CosineAnnealingWarmRestarts, whose peaks stay."""
    def torch_rates(kind, epochs, **settings):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.)
        scheduler = kind(optimizer, **settings)
        found = []
        for _ in range(epochs):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found
    schedulers = torch.optim.lr_scheduler
    one = rates([1] * 10, lr=2., kind="cosine_restarts", min_lr=0.1)
    assert one == pytest.approx(torch_rates(schedulers.CosineAnnealingLR, 10, T_max=10, eta_min=0.1))
    several = rates([1] * 12, lr=2., kind="cosine_restarts", restarts=[4, 8], factor=1.)
    assert several == pytest.approx(torch_rates(schedulers.CosineAnnealingWarmRestarts, 12, T_0=4))


def test_the_schedules_of_the_grid():
    """Ten epochs, and three more from a third of the rate: the first ten are the same."""
    short, long = (rates([1] * epochs, kind="cosine_restarts", restarts=[10], factor=1 / 3) for epochs in (10, 13))
    assert long[:10] == short and short[0] == 1 and 0 < short[-1] < 0.03
    assert long[10:] == pytest.approx([1 / 3, 1 / 4, 1 / 12])
    assert rates([1] * 6, kind="cosine_restarts", restarts=[2, 4], factor=0.1, min_lr=0.5)[2:] == [0.5] * 4


def test_a_run_with_restarts_is_resumed_and_extended_bit_by_bit(songs, tmp_path):
    """Stopped at every checkpoint, or planned for the first cycle only: the weights of the uninterrupted run."""
    given = ("schedule.kind=cosine_restarts", "schedule.restarts=[2]", "schedule.factor=0.3333", "optim.lr=1e-2")
    whole = solver_in(tmp_path / "whole", settings(songs, *given, "epochs=4"))
    whole.run()
    parts = trained_in_parts(tmp_path / "parts", settings(songs, *given, "epochs=4"))
    assert torch.equal(weights(parts), weights(whole)) and len(parts.history) == 4
    assert parts.registry.collect()["schedule"] == whole.registry.collect()["schedule"] == {"epochs": 4}
    solver_in(tmp_path / "longer", settings(songs, *given, "epochs=2")).run()
    longer = solver_in(tmp_path / "longer", settings(songs, *given, "epochs=4"))       # as tools.extend does
    assert longer.train.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.3333)
    longer.run()
    assert torch.equal(weights(longer), weights(whole))


@pytest.mark.parametrize("overrides, words", [
    (["schedule.restarts=[3,2]"], r"schedule.restarts=\[3, 2\] must be ascending"),
    (["schedule.restarts=[2,2]"], "must be ascending"), (["schedule.restarts=[0]"], "schedule.restarts=.*0.*at least 1"),
    (["schedule.kind=cosin"], "schedule.kind='cosin'.*Did you mean 'cosine'"),
    (["schedule.kind=cosine", "schedule.warmup=5", "epochs=5"], "warmup=5"),
])
def test_impossible_schedules(overrides, words, songs):
    with pytest.raises(ConfigError, match=words):
        settings(songs, *overrides)


def test_a_cosine_that_is_extended_goes_on_along_the_longer_one():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.)
    short = build_schedule(ScheduleSettings(**{**PLAIN, "kind": "cosine", "warmup": 1}), optimizer, 3)
    for _ in range(3):
        short.epoch_done(0.)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.)
    longer = build_schedule(ScheduleSettings(**{**PLAIN, "kind": "cosine", "warmup": 1}), other, 8)
    other.load_state_dict(optimizer.state_dict())
    longer.load_state_dict(short.state_dict())
    found = []
    for _ in range(5):
        found.append(other.param_groups[0]["lr"])
        longer.epoch_done(0.)
    assert found == pytest.approx(rates([1] * 8, kind="cosine", warmup=1)[3:])


@pytest.mark.parametrize("kind", ["plateau", "cosine"])
def test_an_optimiser_of_another_run_does_not_bring_its_rate(kind, songs, tmp_path):
    config = settings(songs, f"schedule.kind={kind}", "schedule.patience=0", "schedule.cooldown=0", "optim.lr=1e-2")
    parent = solver_in(tmp_path / "parent", config)
    parent.run()
    child = solver_in(tmp_path / "child", settings(songs, f"schedule.kind={kind}", "optim.lr=1e-2", "continue_from=parent",
                                                   "continue_opt=true"))
    assert {group["lr"] for group in child.train.optimizer.param_groups} == {1e-2}


@pytest.mark.parametrize("kind", ["plateau", "cosine"])
def test_a_run_goes_on_with_its_rate(kind, songs, tmp_path):
    """Stopped after an epoch, and started again, it ends with the same bits."""
    config = settings(songs, f"schedule.kind={kind}", "schedule.patience=0", "schedule.cooldown=0", "optim.lr=1e-2")
    straight = solver_in(tmp_path / "straight", config)
    straight.run()
    first = solver_in(tmp_path / "again", config)
    stop_at_next_save(first)
    with pytest.raises(Stop):
        first.run()
    second = solver_in(tmp_path / "again", config)
    second.run()
    assert torch.equal(weights(second), weights(straight))
    assert second.registry.collect()["schedule"] == straight.registry.collect()["schedule"]


def record(value):
    return EpochRecord({}, {"main": {"loss": value}}, "main", value)


def test_epochs_without_improvement():
    selection = Selection("loss")
    assert [selection.stagnant([record(value) for value in values]) for values in ([], [3], [3, 2], [3, 3], [2, 3, 4, 2])] == [
        0, 0, 0, 1, 3]
    assert Selection("nsdr").loss({"nsdr": 3.}) == -3. and selection.loss({"loss": 3.}) == 3.


def test_a_training_that_ends_early(songs, tmp_path):
    """With a rate of almost nothing no epoch is better than the first; the last one is tested, and stays the last."""
    config = settings(songs, "early_stopping=2", "epochs=9", "optim.lr=1e-30", "ema.batch=[]", "ema.epoch=[]",
                      "svd.penalty=0")
    solver = solver_in(tmp_path / "x", config)
    solver.run()
    assert len(solver.history) == 3 and solver.history[-1].test and not solver.history[0].test
    again = solver_in(tmp_path / "x", config)
    again.run()
    assert len(again.history) == 3
