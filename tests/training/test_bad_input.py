"""Checkpoints of something else, folders that cannot be written, two trainings of one run, clocks that jump."""

import os
import random
import shutil
import subprocess
import time

import preloaded
import pytest
import torch
from training.small import TINY, settings, solver_in, weights

from demucs.errors import PackageError, TrainingError
from demucs.runs.lock import locked
from demucs.training.state import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.runs

SHORT = ("epochs=1", "max_batches=1")


@pytest.fixture
def trained(songs, tmp_path):
    """A folder with a run of one epoch."""
    solver_in(tmp_path / "done", settings(songs, *SHORT)).run()
    return tmp_path / "done"


def put(folder, checkpoint):
    folder.mkdir()
    shutil.copy(checkpoint, folder / "checkpoint.th")
    return folder


def test_a_checkpoint_of_another_experiment_is_refused(songs, trained, tmp_path):
    for override, words in (("optim.lr=0.5", "trained with optim.lr=0.0003, this run has 0.5"),
                            ("hdemucs.growth=1.5", "growth=2.*this run has 1.5"),
                            ("seed=7", "seed=42, this run has 7")):
        folder = put(tmp_path / override, trained / "checkpoint.th")
        with pytest.raises(PackageError, match=f"belongs to another experiment: .*{words}.*continue_from"):
            solver_in(folder, settings(songs, *SHORT, override))


def test_what_is_no_part_of_an_experiment_may_change(songs, trained, tmp_path):
    folder = put(tmp_path / "other", trained / "checkpoint.th")
    solver = solver_in(folder, settings(songs, "max_batches=1", "epochs=2", "misc.num_prints=1", "misc.patience=3"))
    assert len(solver.history) == 1


def test_a_checkpoint_of_a_newer_format_is_refused(songs, trained, tmp_path):
    package = read_checkpoint(trained / "checkpoint.th")
    folder = tmp_path / "newer"
    folder.mkdir()
    write_checkpoint({**package, "format": 99}, folder / "checkpoint.th")
    with pytest.raises(PackageError, match="format 99 by a newer version of this program, which reads format 1"):
        solver_in(folder, settings(songs, *SHORT))


@pytest.fixture
def read_only(tmp_path):
    """A function that makes a folder one that cannot be written, for root as well."""
    mounted = []

    def make(folder):
        if os.geteuid():
            folder.chmod(0o555)
            return
        for command in (["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,bind,ro", str(folder)]):
            if subprocess.run(command, capture_output=True).returncode:
                pytest.skip("root without the right to mount: every folder can be written")
            mounted.append(folder) if "--bind" in command else None
    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def run(songs, tmp_path, *overrides, **variables):
    environment = {**os.environ, "_DORA_TEST_PATH": str(tmp_path / "outputs"), "OMP_NUM_THREADS": "1", **variables}
    return preloaded.Popen("-m", "dora", "-P", "demucs", "run", *TINY, f"dset.musdb={songs}",
                           f"dset.metadata={tmp_path / 'cache'}", *overrides, env=environment, merge=True)


def test_a_run_folder_that_cannot_be_written_is_told_in_one_line(songs, tmp_path, read_only):
    first = run(songs, tmp_path, *SHORT)
    assert first.wait(timeout=120) == 0, first.read()
    (folder,) = (tmp_path / "outputs" / "xps").iterdir()
    read_only(folder)
    again = run(songs, tmp_path, *SHORT)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 1 and f"error: cannot write in {folder}" in output and "Traceback" not in output
    with pytest.raises(TrainingError, match="cannot write in .*make it writable"):
        with locked(folder):
            pass


def test_another_experiment_than_the_job_was_submitted_as(songs, tmp_path, monkeypatch):
    """Release and evaluation wait for the one that was named."""
    monkeypatch.setenv("DEMUCS_EXPECTED_SIGNATURE", "deadbeef")
    refused = run(songs, tmp_path, *SHORT)
    output, _ = refused.communicate(timeout=120)
    assert refused.returncode == 2 and "but they were submitted as deadbeef" in output
    (folder,) = (tmp_path / "outputs" / "xps").iterdir()
    assert not (folder / "checkpoint.th").exists() and not (folder / "status.json").exists()


def test_two_trainings_of_one_run(songs, tmp_path):
    """The second gives up, and leaves the first and its records alone."""
    overrides = ("epochs=1000", "max_batches=1")
    first = run(songs, tmp_path, *overrides)
    second = None
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "outputs").glob("xps/*/checkpoint.th")):
            assert first.returncode is None
            if time.monotonic() > deadline:
                pytest.fail("waited in vain")
            time.sleep(0.1)
        (folder,) = (tmp_path / "outputs" / "xps").iterdir()
        ledger = (folder / "ledger.jsonl").read_text()
        second = run(songs, tmp_path, *overrides)
        output, _ = second.communicate(timeout=120)
        assert second.returncode == 1 and "Traceback" not in output, output
        assert f"{folder.name} is being trained already, by process {first.pid} on " in output
        assert first.returncode is None and (folder / "ledger.jsonl").read_text() == ledger
        assert '"state": "failed"' not in (folder / "status.json").read_text()
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.wait()
    with locked(folder, patience=0):
        pass


def test_a_clock_that_jumps_changes_nothing(songs, tmp_path, monkeypatch):
    config = settings(songs, "epochs=2", "checkpoint.minutes=0.001", "misc.patience=1")
    expected = solver_in(tmp_path / "steady", config)
    expected.run()
    now, chance = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: now() + chance.uniform(-1e6, 1e6))
    solver = solver_in(tmp_path / "jumping", config)
    solver.run()
    assert torch.equal(weights(solver), weights(expected))
    assert all(0 <= value < 60 for record in solver.history for value in record.seconds.values())
