"""The table of runs on a real Slurm: pending, running and finished jobs without accounting, and a dead controller."""

import subprocess
import time

import pytest

from demucs.runs.jobs import Slurm

pytestmark = pytest.mark.slurm

PATIENCE = 40   # seconds


def submit(*arguments):
    done = subprocess.run(["sbatch", "--parsable", "--output=/dev/null", *arguments], text=True, check=True, timeout=30,
                          capture_output=True)
    return done.stdout.strip()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.2)


def test_jobs_of_a_private_slurm(cluster, tmp_path, monkeypatch):
    for key, value in cluster.items():
        monkeypatch.setenv(key, value)
    script = tmp_path / "a script.sh"
    script.write_text("#!/bin/bash\nsleep 60\n")
    running = submit("--job-name=cafe0001", str(script))
    waiting = submit("--job-name=a name|with bars", "--hold", str(script), "cafe0002", "epochs=3")
    failing = submit("--wrap", "exit 3")
    slurm = Slurm(patience=20)

    def queue():
        return {job.number: job for job in slurm.queue()}
    try:
        until(lambda: running in queue() and queue()[running].state == "RUNNING" and failing not in queue())
        found = queue()
        assert found[running].signatures == {"cafe0001"} and not found[running].waits
        assert found[waiting].signatures == {"cafe0002"} and found[waiting].waits
        assert (found[waiting].name, found[waiting].reason) == ("a name|with bars", "JobHeldUser")
        assert str(slurm.past([failing])[failing]) == f"job {failing} failed (3:0)" and slurm.notes == []
        assert slurm.past(["999999"]) == {}
    finally:
        subprocess.run(["scancel", running, waiting], timeout=30)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "none.conf"))
    assert slurm.queue() is None and "missing here" in slurm.notes[0]
