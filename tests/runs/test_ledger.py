"""The ledger: no line is lost by truncated lines or concurrent writers, and hours are correct."""

import dataclasses
import json
import os
import subprocess
import sys

import preloaded
import pytest
from conftest import REPOSITORY

from demucs.runs import ledger
from demucs.schema import LedgerLine, RunStatus

pytestmark = pytest.mark.runs

START = LedgerLine(session="a", signature="cafe0001", event="start", started="2026-01-01T00:00:00+00:00", first_epoch=0,
                   first_step=0, epoch=0, step=0, steps=100, world_size=8, gpus={"NVIDIA A100": 8}, nodes=["n1"],
                   host="n1", process=17, job="5", restarts=0, commit="abc")
STATUS = RunStatus(signature="cafe0001", state="running", reason="", epoch=3, step=40, steps=100, epochs=9,
                   best_nsdr=None, seconds_per_step=1., world_size=8, device="cuda", host="n1", process=17, job="5", restarts=0,
                   started=START.started, updated="2026-01-01T01:30:00+00:00")


def end(line, seconds, **values):
    return dataclasses.replace(line, event="end", seconds=seconds, **values)


def later(session, hour, **values):
    return dataclasses.replace(START, session=session, started=f"2026-01-01T{hour:02d}:00:00+00:00", **values)


def test_lines_come_back(tmp_path):
    assert ledger.read(tmp_path) == ([], 0)
    lines = [START, end(START, 7200., state="done", epoch=9)]
    for line in lines:
        ledger.append(line, tmp_path)
    assert ledger.read(tmp_path) == (lines, 0)


def test_torn_lines_cost_themselves_only(tmp_path):
    path = tmp_path / ledger.LEDGER
    for torn in (b'{"session": "a", "sig', b"\xff\xfe\x00", b"[1, 2]\n", b'{"version": 99}\n'):
        ledger.append(START, tmp_path)
        with open(path, "ab") as file:
            file.write(torn)
    ledger.append(end(START, 1.), tmp_path)
    lines, damaged = ledger.read(tmp_path)
    assert lines == [START] * 4 + [end(START, 1.)] and damaged == 4


def test_many_writers(tmp_path):
    """Six processes, 50 lines each, of different lengths."""
    code = ("import sys, dataclasses, pathlib\n"
            "from demucs.runs import ledger; from demucs.schema import LedgerLine\n"
            "line = LedgerLine(**eval(sys.argv[2]))\n"
            "for n in range(50):\n"
            "    ledger.append(dataclasses.replace(line, session=f'{sys.argv[3]}-{n}', nodes=['node'] * (n * 20)),"
            " pathlib.Path(sys.argv[1]))")
    line = repr(dataclasses.asdict(START))
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), line, str(number)], cwd=REPOSITORY)
               for number in range(6)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 6
    lines, damaged = ledger.read(tmp_path)
    assert damaged == 0 and {line.session for line in lines} == {f"{w}-{n}" for w in range(6) for n in range(50)}
    assert len(lines) == 300 and all(len(line.nodes) == 20 * int(line.session.split("-")[1]) for line in lines)


def test_a_writer_does_not_wait_for_ever(tmp_path, monkeypatch):
    import fcntl
    monkeypatch.setattr(ledger, "PATIENCE", 0.1)
    (tmp_path / ledger.LEDGER).touch()
    with open(tmp_path / ledger.LEDGER) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ledger.append(START, tmp_path)
    assert ledger.read(tmp_path) == ([START], 0)


def test_hours_of_sessions_that_ended():
    second = later("b", 5, gpus={"NVIDIA A100": 4})
    found = ledger.stays([START, end(START, 3600.), second, end(second, 1800.)])
    assert [(stay.seconds, stay.exact, stay.open) for stay in found] == [(3600., True, False), (1800., True, False)]
    assert ledger.gpu_hours(found) == pytest.approx(8 + 2)
    assert ledger.gpu_hours([]) is None
    assert ledger.gpu_hours(ledger.stays([end(dataclasses.replace(START, gpus={}), 5.)])) is None


def test_a_session_that_runs_or_was_killed():
    now, = ledger.stays([START], STATUS)
    assert (now.seconds, now.exact, now.open) == (5400., True, True)
    # Its end is added by the next session, which finds what it said last.
    closed, = ledger.killed([START], STATUS)
    assert (closed.event, closed.state, closed.seconds, closed.epoch, closed.step) == ("end", "killed", 5400., 2, 40)
    assert ledger.killed([START, closed], STATUS) == [] and ledger.killed([START], None) == []
    other = dataclasses.replace(STATUS, process=18)
    assert ledger.killed([START], other) == []
    # Where that is lost, too, it has ended when the next one began.
    bound, last = ledger.stays([START, later("b", 3)], other)
    assert (bound.seconds, bound.exact, bound.open) == (3 * 3600., False, False)
    assert (last.seconds, last.exact, last.open) == (0., False, True)


def test_ends_without_a_start_and_clocks_that_jump():
    lonely, = ledger.stays([end(START, 60.)])
    assert lonely.seconds == 60.
    behind = dataclasses.replace(STATUS, updated="2025-12-31T23:00:00+00:00")
    assert ledger.stays([START], behind)[0].seconds == 0.


def test_what_a_run_writes(tmp_path):
    """A process that dies, one that is stopped, one that ends."""
    code = """
import os, sys, pathlib, torch
from demucs.runs.status import StatusFile
from demucs.training.distributed import Group
file = StatusFile(pathlib.Path(sys.argv[1]), Group(0, 1, torch.device("cpu")), signature="x", epochs=9, steps=10)
first = int(sys.argv[2])
file.begin(first, 0)
file.write("running")
file._written = 0
file.progress(first + 1, 5, [])
if sys.argv[3] == "killed":
    os.kill(os.getpid(), 9)
file.write(sys.argv[3], "why")
"""
    environment = {**os.environ, "SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "3"}
    for first, how in enumerate(("killed", "stopped", "done")):
        done = preloaded.run("-c", code, tmp_path, first, how, env=environment, timeout=100)
        assert (done.returncode != 0) == (how == "killed")
    lines, damaged = ledger.read(tmp_path)
    assert damaged == 0 and [(line.event, line.state) for line in lines] == [
        ("start", ""), ("end", "killed"), ("start", ""), ("end", "stopped"), ("start", ""), ("end", "done")]
    assert [(line.first_epoch, line.epoch, line.step) for line in lines if line.event == "end"] == [
        (0, 1, 5), (1, 2, 5), (2, 3, 5)]
    assert all((line.job, line.restarts, line.gpus, line.steps) == ("12", 3, {}, 10) for line in lines)
    assert len({line.session for line in lines}) == 3 and lines[3].reason == "why"
    assert all(json.loads(text) for text in (tmp_path / ledger.LEDGER).read_text().splitlines())
