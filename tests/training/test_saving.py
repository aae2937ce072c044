"""Stopping between two steps, by `Saving` alone: what is called, in which order and on which rank."""

import types

import pytest

from demucs.errors import TrainingError
from demucs.training.interruption import Stopped
from demucs.training.saving import Plan, Saving

PLAN = Plan(epochs=9, patience=None, test_every=1, test_best=False, save_every=None, save_minutes=0, save_steps=0)


@pytest.fixture
def saving(tmp_path):
    """Makes one that is asked to stop, after 4 epochs; `calls` has what it calls."""
    def make(*, first=True, records=lambda changed: None):
        calls = []
        group = types.SimpleNamespace(is_first=first, barrier=lambda: calls.append("barrier"))
        requests = types.SimpleNamespace(agreed=lambda due: (True, due), stop_signal="SIGTERM", save_wanted=False)
        made = Saving(tmp_path, PLAN, group=group, requests=requests, watchdog=types.SimpleNamespace(beat=lambda: None),
                      entries=lambda: calls.append("entries") or {}, content=lambda: {"state": {}},
                      records=lambda changed: calls.append(("records", changed)) or records(changed),
                      epochs_done=lambda: 4, stopped=calls.append)
        return made, calls
    return make


@pytest.mark.parametrize("first", [True, False])
def test_a_stop_saves_and_writes_the_records(saving, tmp_path, first):
    made, calls = saving(first=first)
    with pytest.raises(Stopped):
        made.go_on()
    assert calls == ["entries", *([("records", False)] if first else []), "barrier", "SIGTERM"]
    assert (tmp_path / "checkpoint.th").exists() is first


def test_records_that_cannot_be_written_name_the_epoch(saving):
    def full(changed):
        raise OSError(28, "No space left on device")
    made, calls = saving(records=full)
    with pytest.raises(TrainingError, match="cannot write the records of epoch 5 in .*No space left"):
        made.go_on()
    with pytest.raises(TrainingError, match="cannot write the records of epoch 3 in "):
        made.publish(3, True)
    made.checkpoints.wait()
    assert calls == ["entries", ("records", False), ("records", True)]
