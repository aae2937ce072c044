"""Whether a job goes on: what its training said, what its checkpoint says, and how often it has tried."""

import json
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from conftest import REPOSITORY

from demucs.schema import RunStatus, save
from tools import requeue
from tools.requeue import Verdict


def status(state, reason="", job="7", restarts=0):
    return RunStatus(signature="abc", state=state, reason=reason, epoch=2, step=3, steps=9, epochs=5, best_nsdr=None,
                     seconds_per_step=None, world_size=2, device="cpu", host="n1", process=1, job=job, restarts=restarts,
                     started="", updated="")


KILLED = "n1: task 0: Killed"
ERROR = "n1: task 1: Exited with exit code 1"


@pytest.mark.parametrize("said, arguments, verdict, words", [
    (status("done"), {}, Verdict.DONE, "done"),
    (None, {}, Verdict.DONE, "nothing was trained"),
    # Stopped
    (status("stopped", "SIGUSR2"), {"progressed": True}, Verdict.AGAIN, "stopped by SIGUSR2"),
    (status("stopped", "SIGUSR2"), {"fruitless": 1}, Verdict.AGAIN, "without progress, 1 of 3"),
    (status("stopped", "SIGUSR2"), {"fruitless": 3}, Verdict.GIVEN_UP, "3 starts in a row"),
    (status("stopped", "SIGTERM"), {"progressed": True}, Verdict.STOPPED, "SIGTERM"),
    (status("stopped", "SIGTERM"), {"progressed": True, "preempted": True}, Verdict.AGAIN, "preempted"),
    (None, {"exit_status": 143, "words": "n1: task 0: Terminated"}, Verdict.STOPPED, "SIGTERM"),
    (None, {"exit_status": 143, "preempted": True}, Verdict.AGAIN, "preempted"),
    # A rank died, and the others were terminated for it
    (status("running"), {"exit_status": 143, "words": KILLED, "progressed": True}, Verdict.AGAIN, "task 0: Killed"),
    (status("running"), {"exit_status": 137, "words": KILLED, "fruitless": 1}, Verdict.AGAIN, "epoch 2, after step 3"),
    (None, {"exit_status": 137, "words": KILLED, "fruitless": 1}, Verdict.AGAIN, "before training began"),
    (status("failed", "connection reset"), {"exit_status": 137, "words": KILLED, "fruitless": 3}, Verdict.GIVEN_UP,
     "connection reset; n1: task 0: Killed"),
    # Errors
    (status("failed", "no space left"), {"exit_status": 1, "progressed": True}, Verdict.AGAIN, "no space left"),
    (status("failed", "no space left"), {"exit_status": 1, "fruitless": 2, "ever": True}, Verdict.AGAIN, "2 of 3"),
    (status("failed", "diverged"), {"exit_status": 1, "fruitless": 3, "ever": True}, Verdict.GIVEN_UP, "diverged"),
    (status("failed", "no dataset"), {"exit_status": 1, "fruitless": 1}, Verdict.GIVEN_UP, "never made progress"),
    (None, {"exit_status": 143, "words": ERROR, "fruitless": 1}, Verdict.GIVEN_UP, "Exited with exit code 1"),
    # A process that hung has printed its stacks and ended
    (status("running"), {"exit_status": 1, "words": ERROR, "fruitless": 1}, Verdict.AGAIN, "1 of 3"),
    # It ended well, but the disk was full and its status could not be written
    (status("running"), {"progressed": True}, Verdict.AGAIN, "status 0"),
])
def test_verdicts(said, arguments, verdict, words):
    values = {"exit_status": 0, "progressed": False, "ever": False, "fruitless": 0, "preempted": False, **arguments}
    found, reason = requeue.judge(status=said, **values)
    assert found == verdict and words in reason, (found, reason)


def write(path, epochs, step):
    """As training writes it, tensors and all."""
    torch.save({"history": [{"train": {}}] * epochs, "position": {"step": step}, "state": {"a": torch.zeros(3)},
                "optimizer": {"state": {0: {"step": torch.tensor(1.), "half": torch.zeros(2, dtype=torch.float16)}}}}, path)


def test_position_is_that_of_the_newest_checkpoint_that_can_be_read(tmp_path):
    assert requeue.position(tmp_path) is None
    write(tmp_path / "checkpoint_previous.th", 3, 0)
    write(tmp_path / "checkpoint.th", 3, 7)
    assert requeue.position(tmp_path) == (3, 7)
    whole = (tmp_path / "checkpoint.th").read_bytes()
    for cut in (len(whole) // 2, 10, 0):
        (tmp_path / "checkpoint.th").write_bytes(whole[:cut])
        assert requeue.position(tmp_path) == (3, 0)
    (tmp_path / "checkpoint_previous.th").unlink()
    assert requeue.position(tmp_path) is None


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'proof')!r}, 'w')",)
    with zipfile.ZipFile(tmp_path / "checkpoint.th", "w") as file:
        file.writestr("checkpoint/data.pkl", pickle.dumps({"history": [], "evil": Evil(), "position": {"step": 1}}))
    assert requeue.position(tmp_path) == (0, 1) and not (tmp_path / "proof").exists()


def test_the_account_of_several_starts(tmp_path, monkeypatch):
    def start(restart, job="7", **environment):
        for name, value in {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(restart), **environment}.items():
            monkeypatch.setenv(name, value)
        return requeue.begin(tmp_path)

    def end(said, **arguments):
        save(said, tmp_path / "status.json")
        return requeue.end(tmp_path, **{"exit_status": 137, "preempted": False, "words": KILLED, "most": 3, **arguments})[0]
    assert start(0) == (0, "no checkpoint yet")
    write(tmp_path / "checkpoint.th", 0, 4)
    assert end(status("running")) == Verdict.AGAIN                    # progress
    assert start(1) == (0, "0 epochs and 4 steps are done")
    assert end(status("running", restarts=1)) == Verdict.AGAIN        # none, 1
    assert start(2)[0] == 0
    assert end(status("stopped", "SIGTERM", restarts=2), preempted=True) == Verdict.AGAIN
    for restart, verdict in ((3, Verdict.AGAIN), (4, Verdict.AGAIN), (5, Verdict.GIVEN_UP)):
        start(restart)
        assert end(status("running", restarts=restart)) == verdict    # being preempted has set the count back
    assert start(0, job="8")[0] == 0                                  # somebody submits it again: three tries more
    assert end(status("running", job="8")) == Verdict.AGAIN
    # A status of an earlier start says nothing about this one.
    start(1, job="8")
    write(tmp_path / "checkpoint.th", 1, 0)
    verdict, reason = requeue.end(tmp_path, exit_status=1, preempted=False, words=ERROR, most=3)
    assert verdict == Verdict.AGAIN and "before training began" in reason
    # The chain of an array ends where one of its jobs has.
    start(0, job="20", SLURM_ARRAY_JOB_ID="20")
    assert end(status("done", job="20"), exit_status=0, words="") == Verdict.DONE
    assert start(0, job="21", SLURM_ARRAY_JOB_ID="20")[0] == requeue.NOTHING_TO_START
    assert start(0, job="31", SLURM_ARRAY_JOB_ID="30")[0] == 0


def test_an_account_that_was_cut_short_counts_as_none(tmp_path):
    for content in ("", "{", "[1]"):
        (tmp_path / requeue.ATTEMPTS).write_text(content)
        assert requeue.attempts(tmp_path) == {}
    requeue.keep_account(tmp_path, fruitless=2)
    requeue.keep_account(tmp_path, fruitless=1)
    assert requeue.attempts(tmp_path) == {"fruitless": 1}
    assert (tmp_path / requeue.ATTEMPTS).stat().st_size == requeue.ROOM


def test_command_line_needs_no_torch(tmp_path):
    folder = tmp_path / "abc"
    code = "import runpy, sys; sys.argv[0] = 'requeue'\ntry: runpy.run_module('tools.requeue', run_name='__main__')\n" \
           "finally: assert 'torch' not in sys.modules"
    for arguments, expected, words in ((["begin", "abc"], 0, "abc: no checkpoint yet"),
                                       (["end", "abc", "--exit", "1"], Verdict.GIVEN_UP, "never made progress")):
        done = subprocess.run([sys.executable, "-c", code, *arguments, "--experiments", str(tmp_path)], cwd=REPOSITORY,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == expected and words in done.stdout, done.stdout + done.stderr
    assert json.loads((folder / requeue.ATTEMPTS).read_text())["verdict"] == "GIVEN_UP"
    done = subprocess.run([sys.executable, "-m", "tools.requeue", "end", "../abc"], cwd=REPOSITORY, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1 and "not a signature" in done.stderr
