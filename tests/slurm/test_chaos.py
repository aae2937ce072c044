"""A training that is killed in every way there is ends with the bits of one that is left alone. `make chaos` is longer."""

import os

import pytest
from conftest import require_program

from slurm.chaos import Chaos

pytestmark = pytest.mark.slurm

# Every way to end a process, and every way to disturb what is around it. A rank is killed while the controller is away,
# and while the daemon of a node is; all ranks are where the newest checkpoint is cut short.
KINDS = ("usr2", "term", "preempt", "controller", "node", "truncate", "disk")


def test_same_bits_whatever_happens(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
    for program in ("slurmctld", "slurmd", "sbatch", "soundstretch"):
        require_program(program)
    chaos = Chaos(tmp_path, kills=int(os.environ.get("DEMUCS_TEST_KILLS", len(KINDS))), kinds=KINDS)
    try:
        chaos.prepare()
        chaos.start()
        chaos.go()
        chaos.compare()
    finally:
        chaos.close()
    assert {blow["kind"] for blow in chaos.blows()} == set(chaos.kinds)
