"""Jobs of tests on the private Slurm, run to their end."""

import re
import time

import pytest

PATIENCE = 300   # seconds; four processes start on as few as two cores


def submit(checkout, *command):
    """Run a job to its end; returns its log."""
    result = checkout.run("sbatch", "--parsable", *command)
    assert result.returncode == 0, result.stderr
    return finish(checkout, result.stdout.strip())


def finish(checkout, job):
    """Wait for the end of a job; returns its log."""
    deadline = time.monotonic() + PATIENCE
    while True:
        text = checkout.run("timeout", "10", "scontrol", "show", "job", "--oneliner", job).stdout
        state = re.search(r" JobState=(\S+)", text)[1]
        if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            break
        if time.monotonic() > deadline:
            pytest.fail(text)
        time.sleep(0.3)
    (log,) = (checkout.root / "slurm_out").glob(f"*-{job}.out")
    assert state == "COMPLETED", log.read_text()
    return log.read_text()
