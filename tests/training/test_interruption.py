"""Runs that are stopped between any two steps, or lose their newest checkpoint, end with the same bits."""

import contextlib
import copy
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import preloaded
import pytest
import torch
from conftest import REPOSITORY
from training.small import STEPS, TINY, numbers, settings, solver_in, stop_at, weights, write_songs

from demucs import schema
from demucs.building import build_solver
from demucs.errors import PackageError, TrainingError
from demucs.train import be_deterministic
from demucs.training import checkpoints
from demucs.training.checkpoints import NEWEST, PREVIOUS, Checkpoints, snapshot
from demucs.training.distributed import Group
from demucs.training.interruption import Requests, Stopped, Watchdog
from demucs.training.reports import Average
from demucs.training.state import random_states, set_random_states, write_checkpoint

pytestmark = pytest.mark.runs

@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run left alone, and its settings."""
    folder = tmp_path_factory.mktemp("straight")
    config = settings(write_songs(folder / "songs"), *STEPS)
    solver = solver_in(folder / "x", config)
    looks = []
    asking = solver.requests.asking
    solver.requests.asking = lambda due=False: looks.append(due) or asking(due)
    solver.run()
    return config, solver, len(looks)


def test_stopped_at_every_moment(straight, tmp_path):
    """One run for each moment: in the steps, in and between validations, in tests, and after an epoch."""
    config, expected, looks = straight
    assert looks >= 2 * (3 + 3 + 1)
    assert all(record.test for record in expected.history)
    steps, tested, validated = set(), set(), set()
    for moment in range(1, looks):
        folder = tmp_path / f"{moment}"
        first = solver_in(folder, config)
        stop_at(first, moment)
        with pytest.raises(Stopped, match="SIGUSR2"):
            first.run()
        resumed = solver_in(folder, config)
        steps.add((len(resumed.history), resumed.position.step, resumed.position.trained is None))
        tested.add((len(resumed.history), *resumed.position.tested))
        validated.add((len(resumed.history), *resumed.position.candidates))
        resumed.run()
        assert torch.equal(weights(resumed), weights(expected)), moment
        assert numbers(resumed) == numbers(expected), moment
        for name, average in resumed.averages.items():
            assert all(torch.equal(value, expected.averages[name].state[key]) for key, value in average.state.items())
            assert average.count == expected.averages[name].count
        for key, value in resumed.registry.collect()["optimizer"]["state"].items():
            assert all(torch.equal(part, expected.registry.collect()["optimizer"]["state"][key][name])
                       for name, part in value.items())
    assert {(0, 1, True), (0, 2, True), (0, 3, False), (1, 0, True), (1, 1, True), (1, 3, False)} <= steps
    assert tested == {(0,), (0, "Test song"), (1,), (1, "Test song")}
    assert {(0,), (0, "main"), (0, "main", "ema_batch_0"), (0, "main", "ema_batch_0", "ema_epoch_0")} <= validated


def test_stopped_again_and_again(straight, tmp_path):
    config, expected, _ = straight
    for _ in range(30):
        solver = solver_in(tmp_path / "x", config)
        stop_at(solver, 3)           # before that, a validation would never be finished
        try:
            solver.run()
            break
        except Stopped:
            continue
    assert torch.equal(weights(solver), weights(expected)) and numbers(solver) == numbers(expected)
    card = schema.load(schema.RunCard, tmp_path / "x" / "run_card.json")
    assert len(card.sessions) > 3 and card.epochs_done == 2


class Asking:
    """A group of one process in whose sums a signal comes."""
    rank, world_size, is_first, device = 0, 1, True, torch.device("cpu")

    def __init__(self, number):
        self.number = number

    def sum(self, values):
        if self.number is not None:
            os.kill(os.getpid(), self.number)
        return [float(value) for value in values]


def test_a_signal_during_the_agreement_is_not_lost():
    group = Asking(signal.SIGUSR2)
    requests = Requests(group)
    with requests.listening():
        first = requests.agreed()
        group.number = None
        assert (first, requests.agreed(), requests.stop_signal) == ((False, False), (True, False), "SIGUSR2")


def test_random_states_are_whole(tmp_path):
    def draws():
        return random.random(), random.gauss(0, 1), np.random.standard_normal(3).tolist(), torch.rand(2).tolist()
    random.gauss(0, 1), np.random.standard_normal()          # both keep a second number for later
    write_checkpoint({"state": {}, "random_states": [random_states()]}, tmp_path / "x.th")
    expected = draws()
    draws()
    set_random_states(checkpoints.read_checkpoint(tmp_path / "x.th")["random_states"][0])
    assert draws() == expected


def test_a_test_is_saved_by_time(straight, tmp_path):
    """As steps are; it goes on after the song that was at work, with the weights that are tested."""
    config, expected, _ = straight
    solver = solver_in(tmp_path / "x", config)
    seen = []
    save = solver.saving.save
    solver.saving.save = lambda **kwargs: seen.append(list(solver.position.tested)) or save(**kwargs)
    run = solver.test.run

    def late(*args, **kwargs):
        solver.saving.plan = dataclasses.replace(solver.plan, save_minutes=0. if kwargs["tested"] else 1e-9)
        return run(*args, **kwargs)
    solver.test.run = late
    solver.run()
    assert ["Test song"] in seen
    assert torch.equal(weights(solver), weights(expected)) and numbers(solver) == numbers(expected)


def test_scores_of_another_kind_of_test_do_not_count(straight, tmp_path):
    config, _, _ = straight
    solver = solver_in(tmp_path / "x", config)
    solver.test.sdr = True
    tested = {}
    last, plain = (solver.test.run(is_last, tested=tested) for is_last in (True, False))
    assert "sdr" in last and "sdr" not in plain and plain["nsdr"] == last["nsdr"]
    assert not any(scores.frames for scores in tested.values())


def test_a_checkpoint_on_request_does_not_stop(straight, tmp_path):
    config, expected, _ = straight
    solver = solver_in(tmp_path / "x", config)
    saves = []
    save = solver.saving.save
    solver.saving.save = lambda **kwargs: saves.append(solver.position.step) or save(**kwargs)
    track_name = solver.train.track_name

    def ask(index):
        if not saves:
            os.kill(os.getpid(), signal.SIGUSR1)
        return track_name(index)
    solver.train.track_name = ask
    solver.run()
    assert saves == [1, 0, 0]
    assert torch.equal(weights(solver), weights(expected))


def test_a_signal_stops_a_run_with_loader_workers(songs, tmp_path):
    """As a scheduler does it: the signal reaches every process. Loader workers live on, and so does the run."""
    argv = [*TINY, *STEPS, f"dset.musdb={songs}", f"dset.metadata={tmp_path / 'cache'}", "misc.num_workers=2",
            "max_batches=null", "dset.shift=0.06", "epochs=2", "checkpoint.minutes=0"]
    environment = {**os.environ, "_DORA_TEST_PATH": str(tmp_path / "dora"), "OMP_NUM_THREADS": "1"}
    folders = set()
    for expected in ("stopped", "done"):
        run = preloaded.Popen("-m", "dora", "-P", "demucs", "run", *argv, env=environment, merge=True,
                              start_new_session=True)
        if expected == "stopped":
            folder = None
            deadline = time.monotonic() + 120
            while folder is None and time.monotonic() < deadline and run.returncode is None:
                logs = list((tmp_path / "dora" / "xps").glob("*/*.log*"))
                folder = next((log.parent for log in logs if "Train | Epoch 1" in log.read_text()), None)
                time.sleep(0.05)
            os.killpg(run.pid, signal.SIGUSR2)
        try:
            output, _ = run.communicate(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        assert run.returncode == 0, output
        folders |= {path.parent for path in (tmp_path / "dora" / "xps").glob("*/checkpoint.th")}
        assert ("Stopped by SIGUSR2" in output) == (expected == "stopped"), output
    folder, = folders
    assert "Continuing in epoch 1, after step" in output or "Continuing after epoch" in output
    assert len(json.loads((folder / "history.json").read_text())) == 2


def test_the_newest_two_are_kept_and_a_broken_one_is_passed_over(straight, tmp_path, caplog):
    config, expected, _ = straight
    solver = solver_in(tmp_path / "x", config)
    solver.run()
    folder = tmp_path / "x"
    newest, previous = checkpoints.read_checkpoint(folder / NEWEST), checkpoints.read_checkpoint(folder / PREVIOUS)
    assert (len(newest["history"]), len(previous["history"])) == (2, 1)
    whole = (folder / NEWEST).read_bytes()
    for broken in (whole[:len(whole) // 2], b"", whole[:-100] + b"\\0" * 100):
        (folder / NEWEST).write_bytes(broken)
        with caplog.at_level("WARNING"):
            again = solver_in(folder, config)
        assert len(again.history) == 1 and PREVIOUS in caplog.text
    # What cannot be read does not take the place of what can.
    again.saving.checkpoints.save({"state": {}, "history": [1] * 3})
    again.saving.checkpoints.wait()
    assert [len(checkpoints.read_checkpoint(folder / name)["history"]) for name in (NEWEST, PREVIOUS)] == [3, 1]
    (folder / NEWEST).write_bytes(b"")
    again = solver_in(folder, config)
    again.run()
    assert torch.equal(weights(again), weights(expected)) and numbers(again) == numbers(expected)
    (folder / NEWEST).write_bytes(b"")
    (folder / PREVIOUS).write_bytes(b"")
    with pytest.raises(PackageError, match=PREVIOUS):
        solver_in(folder, config)


def test_a_full_disk_loses_nothing(straight, tmp_path, monkeypatch):
    config, expected, _ = straight
    solver = solver_in(tmp_path / "x", config)
    stop_at(solver, 2)
    with pytest.raises(Stopped):
        solver.run()
    kept = (tmp_path / "x" / NEWEST).read_bytes()

    def full(package, path):
        path.write_bytes(b"half")
        raise TrainingError(f"cannot write {path}: no space left on device")
    again = solver_in(tmp_path / "x", config)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_checkpoint", full)
        with pytest.raises(TrainingError, match="no space left"):
            again.run()
    assert (tmp_path / "x" / NEWEST).read_bytes() == kept
    last = solver_in(tmp_path / "x", config)
    last.run()
    assert torch.equal(weights(last), weights(expected))


@pytest.mark.parametrize("links", [True, False])
def test_at_no_moment_is_there_no_newest(tmp_path, monkeypatch, links):
    """Whatever call the process dies in. Where a file system has no links, the one before stands in."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    keeper = Checkpoints(tmp_path)
    replace, there = os.replace, []

    def look(*args):
        there.append({path.name for path in tmp_path.glob("*.th")})
        replace(*args)
        there.append({path.name for path in tmp_path.glob("*.th")})
    for number in range(3):
        if number == 1:
            monkeypatch.setattr(os, "replace", look)
        keeper.save({"state": {}, "history": [number]})
        keeper.wait()
    assert there and all((NEWEST if links else PREVIOUS) in names or names == {NEWEST} for names in there)
    assert [checkpoints.read_checkpoint(tmp_path / name)["history"] for name in (NEWEST, PREVIOUS)] == [[2], [1]]


def test_checkpoints_by_steps_and_by_time(straight, tmp_path):
    config, _, _ = straight
    for override, least in ((["checkpoint.steps=2"], 2 + 2), (["checkpoint.minutes=1e-9"], 6 + 2)):
        solver = solver_in(tmp_path / override[0], settings(straight_songs(config), *STEPS, *override))
        saves = []
        save = solver.saving.save
        solver.saving.save = lambda save=save, **kwargs: saves.append(1) or save(**kwargs)
        solver.run()
        assert len(saves) >= least


def straight_songs(config):
    from pathlib import Path
    return Path(config.dset.musdb)


def test_a_snapshot_is_not_changed_by_what_comes_after():
    live = {"a": torch.zeros(3), "b": [{"c": (torch.ones(2), 5)}]}
    kept = snapshot(live)
    live["a"] += 1
    live["b"][0]["c"][0].zero_()
    assert torch.equal(kept["a"], torch.zeros(3)) and torch.equal(kept["b"][0]["c"][0], torch.ones(2))


def test_saving_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    write = checkpoints.write_checkpoint

    def slow(package, path):
        time.sleep(0.5)
        write(package, path)
    monkeypatch.setattr(checkpoints, "write_checkpoint", slow)
    files = Checkpoints(tmp_path)
    files.save({"a": torch.zeros(3)})
    assert files.seconds_stalled < 0.3 and not (tmp_path / NEWEST).exists()
    files.wait()
    assert (tmp_path / NEWEST).exists()


def test_averages_of_several_ranks_become_one():
    parts = [Average(), Average()]
    parts[0].add({"loss": 1.}, 2)
    parts[1].add({"loss": 4.}, 4)
    whole = Average.restored([copy.deepcopy(part.state_dict()) for part in parts])
    assert whole.here() == {"loss": 3.} and whole.count == 6
    assert Average.restored([]).count == 0


def test_the_status_says_how_a_run_stands(straight, tmp_path, monkeypatch):
    config, _, _ = straight

    def status():
        return schema.load(schema.RunStatus, tmp_path / "x" / "status.json")
    solver = solver_in(tmp_path / "x", config)
    stop_at(solver, 2)
    with pytest.raises(Stopped):
        solver.run()
    assert (status().state, status().reason, status().epoch, status().step, status().steps) == (
        "stopped", "SIGUSR2", 1, 2, 3)
    failing = solver_in(tmp_path / "x", config)
    monkeypatch.setattr(failing.valid, "run", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing.run()
    assert status().state == "failed" and "division" in status().reason
    last = solver_in(tmp_path / "x", config)
    last.run()
    assert (status().state, status().reason, status().process, status().signature) == ("done", "", os.getpid(), "x")
    assert status().best_nsdr == max(record.valid["nsdr"] for record in last.history)


def test_handlers_are_put_back():
    class Alone:
        def sum(self, values):
            return [float(value) for value in values]
        is_first = True
    before = signal.getsignal(signal.SIGTERM)
    requests = Requests(Alone())
    with requests.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert requests.agreed() == (True, False)
    assert requests.stop_signal == "SIGTERM" and signal.getsignal(signal.SIGTERM) == before


def test_a_process_that_hangs_prints_its_stacks_and_ends():
    code = ("import time; from demucs.training.interruption import Watchdog\n"
            "def stuck(): time.sleep(60)\n"
            "with Watchdog(0.5).watching(): stuck()")
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "in stuck" in done.stderr
    with Watchdog(None).watching():
        pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("exact", [True, False])
def test_resumed_on_a_gpu(straight, tmp_path, exact):
    """To the same bits with deterministic algorithms; without, within what two runs of the same differ by."""
    config, _, looks = straight
    group = Group(0, 1, torch.device("cuda"))
    torch.use_deterministic_algorithms(False)
    if exact:
        be_deterministic()
    try:
        def solver(folder):
            folder.mkdir(exist_ok=True)
            return build_solver(config, folder, group, signature=folder.name)
        expected = solver(tmp_path / "straight")
        expected.run()
        for moment in (2, looks // 2, looks - 1):
            first = solver(tmp_path / f"{moment}")
            stop_at(first, moment)
            with pytest.raises(Stopped):
                first.run()
            resumed = solver(tmp_path / f"{moment}")
            resumed.run()
            difference = (weights(resumed) - weights(expected)).abs().max().item()
            assert difference <= (0. if exact else 2e-4)       # six Adam steps of 3e-4, each of which may round otherwise
    finally:
        torch.use_deterministic_algorithms(False)
