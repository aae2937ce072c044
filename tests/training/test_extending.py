"""An extended training equals one that was planned with more epochs from the start."""

import json
import time

import preloaded
import pytest
import torch
from omegaconf import OmegaConf
from training.small import ALONE, TINY, weights

from demucs import extension
from demucs import schema
from demucs.building import build_solver
from demucs.config import read
from demucs.errors import ConfigError, SignatureError
from demucs.runs.lock import LockedError, locked
from demucs.runs.progress import progress
from demucs.train import main as experiments
from demucs.training.interruption import Stopped
from tools import extend

pytestmark = pytest.mark.runs


@pytest.fixture
def train(songs, tmp_path, monkeypatch):
    """Train an experiment in outputs/xps, or what is left of it; returns it and its solver."""
    monkeypatch.setattr(experiments.dora, "dir", tmp_path / "outputs")

    def run(epochs=None, signature=None, stop_after=None):
        argv = experiments.get_argv_from_sig(signature) if signature else [
            *TINY, f"dset.musdb={songs}", f"dset.metadata={tmp_path / 'cache'}", f"epochs={epochs}", "save_every=1"]
        xp = experiments.get_xp(argv)
        experiments.init_xp(xp)
        solver = build_solver(read(OmegaConf.to_container(xp.cfg, resolve=True)), xp.folder, ALONE, signature=xp.sig,
                              argv=xp.argv)
        if stop_after is not None:
            publish = solver.publish
            solver.publish = lambda history, best: publish(history, best) or (
                len(history) == stop_after and setattr(solver.requests, "stop_signal", "SIGUSR2"))
        try:
            solver.run()
        except Stopped:
            assert stop_after is not None
        return xp, solver
    return run


def told(solver):
    """What the history says about training, validation and selection; how long it took differs, and the last epoch of a
    plan is tested."""
    return [{key: value for key, value in record.to_history().items() if key not in ("seconds", "test")}
            for record in solver.history]


@pytest.mark.parametrize("stop_after", [None, 1])
def test_as_if_planned_longer_from_the_start(train, stop_after):
    old, first = train(epochs=2, stop_after=stop_after)
    signature = extend.extend(old.sig, 4)
    assert signature == experiments.get_xp([*old.argv, "epochs=4"]).sig != old.sig
    done = stop_after or 2
    new = experiments.get_xp_from_sig(signature)
    assert progress(new.folder) == (done, 0, 0, 0) and len(schema.load_history(new.folder / "history.json")) == done
    assert extension.link(new.folder) == {"extended_from": old.sig, "after_epochs": done, "extended_to": [], "version": 1}
    assert extension.link(old.folder)["extended_to"] == [signature]

    _, extended = train(signature=signature)
    planned_folder = new.folder.with_name("moved")
    new.folder.rename(planned_folder)
    _, planned = train(epochs=4)
    assert torch.equal(weights(extended), weights(planned))
    assert told(extended) == told(planned) and told(extended)[:done] == told(first) and len(told(extended)) == 4
    for key, value in planned.best_state.items():
        assert torch.equal(value, extended.best_state[key])
    for name, average in planned.averages.items():
        assert all(torch.equal(value, extended.averages[name].state[key]) for key, value in average.state.items())
    card = schema.load(schema.RunCard, planned_folder / "run_card.json")
    assert (card.signature, card.epochs, card.epochs_done) == (signature, 4, 4)
    assert [session.last_epoch for session in card.sessions] == [done, 4]      # what it has cost in all


def test_again_is_the_same_and_what_has_begun_is_not_overwritten(train):
    old, _ = train(epochs=1)
    assert extend.extend(old.sig, 3, check=True) and not list(old.folder.glob("extended.json"))
    signature = extend.extend(old.sig, 3)
    train(signature=signature, stop_after=2)
    assert extend.extend(old.sig, 3) == signature
    assert progress(experiments.get_xp_from_sig(signature).folder)[0] == 2     # not copied again
    other, _ = train(epochs=2)
    with pytest.raises(SignatureError, match=f"{other.sig}, which has begun by itself"):
        extend.extend(old.sig, 2)


def test_what_has_begun_and_lost_its_newest_checkpoint_is_not_overwritten(train):
    old, _ = train(epochs=1)
    new = experiments.get_xp_from_sig(extend.extend(old.sig, 3))
    train(signature=new.sig, stop_after=2)
    (new.folder / "checkpoint.th").rename(new.folder / "checkpoint_previous.th")
    assert extend.extend(old.sig, 3) == new.sig and progress(new.folder)[0] == 2


def test_a_damaged_newest_checkpoint_is_not_carried_over(train):
    old, _ = train(epochs=2)
    checkpoint = old.folder / "checkpoint.th"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    new = experiments.get_xp_from_sig(extend.extend(old.sig, 3))
    assert progress(new.folder) == progress(old.folder) == (1, 0, 0, 0)
    _, solver = train(signature=new.sig)
    assert len(solver.history) == 3


def test_what_cannot_be_extended(train):
    old, _ = train(epochs=2)
    for epochs in (1, 2):
        with pytest.raises(ConfigError, match="planned for 2 epochs"):
            extend.extend(old.sig, epochs)
    with pytest.raises(SystemExit, match="no experiment 'deadbeef'"):
        extend.extend("deadbeef", 5)
    (old.folder / "extended.json").write_text(json.dumps({"version": 9}))
    with pytest.raises(schema.SchemaError, match="extended.json"):
        extend.extend(old.sig, 3)
    for path in old.folder.glob("checkpoint*.th"):
        path.unlink()
    with pytest.raises(SignatureError, match="no checkpoint"):
        extend.extend(old.sig, 3)


def test_what_has_begun_by_itself_is_told_before_a_job_is_queued(train):
    old, _ = train(epochs=1)
    new, _ = train(epochs=2)
    for check in (True, False):
        with pytest.raises(SignatureError, match=f"{new.sig}, which has begun by itself"):
            extend.extend(old.sig, 2, check=check)


def test_a_run_that_is_being_trained_is_not_copied(train):
    old, _ = train(epochs=1)
    new = old.folder.parent / extend.extend(old.sig, 3, check=True)     # the other one may have no checkpoint yet
    new.mkdir()
    code = ("import sys, time; from pathlib import Path; from demucs.runs.lock import locked\n"
            "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)")
    for folder in (old.folder, new):
        other = preloaded.Popen("-c", code, folder)
        try:
            while "locked\n" not in other.read()[0]:
                assert other.returncode is None, other.read()
                time.sleep(0.05)
            with pytest.raises(LockedError, match=f"{folder.name} is being trained already, by process {other.pid} on "):
                extend.extend(old.sig, 3)
        finally:
            other.kill()
            other.wait()
        assert {path.name for path in new.iterdir()} <= {"lock"}
    with locked(old.folder, patience=0):      # the lock ended with its process, whatever stands in the file
        pass
    assert extend.extend(old.sig, 3)
