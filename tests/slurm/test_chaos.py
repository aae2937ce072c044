"""Fault injection: a training killed by every kind of fault ends with the same bits as an undisturbed one. `make chaos`
is the longer version."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY, require_program

pytestmark = pytest.mark.slurm

# Every way to end a process, and every way to disturb what is around it. A rank is killed while the controller is away,
# and while the daemon of a node is; all ranks are where the newest checkpoint is cut short.
KINDS = ("usr2", "term", "preempt", "controller", "node", "truncate", "disk")
PATIENCE = 1800     # seconds; a start takes ten where two cores have nothing else to do, and there is one for each fault


def test_same_bits_whatever_happens(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
    for program in ("slurmctld", "slurmd", "sbatch", "soundstretch"):
        require_program(program)
    kills = int(os.environ.get("DEMUCS_TEST_KILLS", len(KINDS)))
    done = subprocess.run([sys.executable, REPOSITORY / "tests" / "slurm" / "chaos.py", "--folder", tmp_path, "--kills",
                           str(kills), "--kinds", *KINDS], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} faults in " in done.stdout and "every bit of weights" in done.stdout
    assert len((tmp_path / "faults.jsonl").read_text().splitlines()) == kills
