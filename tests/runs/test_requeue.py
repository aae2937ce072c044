"""The decision to requeue a job: by the status of its training, its checkpoint, and the number of starts."""

import json

import pytest
import torch

from demucs.runs import requeue
from demucs.runs.progress import note, progress
from demucs.runs.requeue import Verdict
from demucs.schema import RunStatus, save


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
    # It ended well, but nobody knows whether it is done
    (None, {"readable": False, "progressed": True, "ever": True}, Verdict.AGAIN, "its status cannot be read"),
    (None, {"readable": False, "fruitless": 3, "ever": True}, Verdict.GIVEN_UP, "its status cannot be read"),
    # It ended well, but the disk was full and its status could not be written
    (status("running"), {"progressed": True}, Verdict.AGAIN, "status 0"),
])
def test_verdicts(said, arguments, verdict, words):
    values = {"exit_status": 0, "progressed": False, "ever": False, "fruitless": 0, "preempted": False, **arguments}
    found, reason = requeue.judge(status=said, **values)
    assert found == verdict and words in reason, (found, reason)


def write(path, epochs, step, **position):
    """As training writes it, tensors and all."""
    fresh = path.with_suffix(".new")
    torch.save({"history": [{"train": {}}] * epochs, "position": {"step": step, **position},
                "state": {"a": torch.zeros(3)},
                "optimizer": {"state": {0: {"step": torch.tensor(1.), "half": torch.zeros(2, dtype=torch.float16)}}}}, fresh)
    note(path.parent, (epochs, step, len(position.get("candidates", ())), len(position.get("tested", ()))), fresh)
    fresh.rename(path)


def test_progress_is_that_of_the_newest_checkpoint_that_can_be_read(tmp_path):
    assert progress(tmp_path) is None
    write(tmp_path / "checkpoint_previous.th", 3, 0)
    write(tmp_path / "checkpoint.th", 3, 7)
    assert progress(tmp_path) == (3, 7, 0, 0)
    whole = (tmp_path / "checkpoint.th").read_bytes()
    for cut in (len(whole) // 2, 10, 0):
        (tmp_path / "checkpoint.th").write_bytes(whole[:cut])
        assert progress(tmp_path) == (3, 0, 0, 0)
    (tmp_path / "checkpoint_previous.th").unlink()
    assert progress(tmp_path) is None


def test_the_account_of_several_starts(tmp_path, monkeypatch):
    def start(restart, job="7", **environment):
        for name, value in {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(restart), **environment}.items():
            monkeypatch.setenv(name, value)
        return requeue.begin(tmp_path, chain="SLURM_ARRAY_JOB_ID" in environment)

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
    assert end(status("done", job="20"), exit_status=0, words="", chain=True) == Verdict.DONE
    assert start(0, job="21", SLURM_ARRAY_JOB_ID="20")[0] == requeue.NOTHING_TO_START
    assert start(0, job="31", SLURM_ARRAY_JOB_ID="30")[0] == 0
    # In an array of different runs each keeps its own account.
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    requeue.begin(tmp_path)
    assert requeue.attempts(tmp_path)["job"] == "30_4"


def start(folder, monkeypatch, job="7", **environment):
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_JOB_ID": job, **environment}.items():
        monkeypatch.setenv(name, value)
    return requeue.begin(folder, chain="SLURM_ARRAY_JOB_ID" in environment)


def killed(folder):
    return requeue.end(folder, exit_status=137, preempted=False, words=KILLED, most=3)


def test_validation_and_tests_count_as_progress(tmp_path, monkeypatch):
    song = {"name": "a", "scores": {"drums": {"nsdr": 1.}}}
    places = [{}, {"candidates": {"main": {"loss": 1.}}, "tested": {}},
              {"candidates": {"main": {"loss": 1.}, "ema": {"loss": 1.}}}, {"candidates": {}, "tested": {"a": song}}]
    found = []
    for place in places:
        write(tmp_path / "checkpoint.th", 1, 9, **place)
        found.append(progress(tmp_path))
    assert found == [(1, 9, 0, 0), (1, 9, 1, 0), (1, 9, 2, 0), (1, 9, 0, 1)]
    start(tmp_path, monkeypatch)
    for place, verdict in ((places[1], Verdict.AGAIN), (places[1], Verdict.AGAIN), (places[1], Verdict.AGAIN),
                           (places[1], Verdict.GIVEN_UP)):
        start(tmp_path, monkeypatch)
        write(tmp_path / "checkpoint.th", 1, 9, **place)
        assert killed(tmp_path)[0] == verdict
    # The account of a start by an older version of this tool has epochs and steps only.
    requeue.keep_account(tmp_path, job="7", start=[1, 9], fruitless=2)
    write(tmp_path / "checkpoint.th", 1, 9)
    assert killed(tmp_path)[0] == Verdict.GIVEN_UP


def test_starts_that_slurm_repeats_by_itself_count(tmp_path, monkeypatch):
    """A node died, and the script with it: nothing has called `end`."""
    write(tmp_path / "checkpoint.th", 0, 4)
    assert [start(tmp_path, monkeypatch)[0] for _ in range(3)] == [0, 0, 0]
    write(tmp_path / "checkpoint.th", 0, 5)
    assert [start(tmp_path, monkeypatch)[0] for _ in range(3)] == [0, 0, 0]
    assert killed(tmp_path)[0] == Verdict.GIVEN_UP
    assert start(tmp_path, monkeypatch, job="8")[0] == 0 and killed(tmp_path)[0] == Verdict.AGAIN     # one
    assert [start(tmp_path, monkeypatch, job="8")[0] for _ in range(2)] == [0, 0]
    code, reason = start(tmp_path, monkeypatch, job="8")
    assert code == 2 and "3 starts in a row have made no progress" in reason
    assert start(tmp_path, monkeypatch, job="9")[0] == 0


@pytest.mark.runs
@pytest.mark.parametrize("answer, code, words", [
    ("CANCELLED", requeue.NOTHING_TO_START, "the chain has ended before: job 20_1 was cancelled"),
    ("PREEMPTED", 0, "no checkpoint"), ("NODE_FAIL", 0, "no checkpoint"), ("", 0, "no checkpoint")])
def test_a_cancelled_job_ends_its_chain(tmp_path, monkeypatch, answer, code, words):
    squeue = tmp_path / "squeue"
    # The first answer comes while the processes of that job are still ending.
    squeue.write_text(f'#!/bin/sh\ncase "$*" in *--states=all*20_1) ;; *) exit 1 ;; esac\n'
                      f'if [ -e {tmp_path}/asked ]; then echo "{answer}"; else echo COMPLETING; fi\n'
                      f': > {tmp_path}/asked\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(requeue.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert start(tmp_path / "run", monkeypatch, job="20", SLURM_ARRAY_JOB_ID="20")[0] == 0
    for job in ("21", "22"):
        found = start(tmp_path / "run", monkeypatch, job=job, SLURM_ARRAY_JOB_ID="20")
        assert found[0] == code and words in found[1]
        if code == 0:
            break


def test_a_verdict_survives_a_full_disk_and_an_unreadable_status(tmp_path, monkeypatch, capsys):
    write(tmp_path / "checkpoint.th", 0, 4)
    start(tmp_path, monkeypatch)
    (tmp_path / "status.json").write_text("{")
    write(tmp_path / "checkpoint.th", 0, 5)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(requeue, "keep_account", full)
    verdict, reason = requeue.end(tmp_path, exit_status=0, preempted=False, words="", most=3)
    assert verdict == Verdict.AGAIN and "its status cannot be read" in reason
    said = capsys.readouterr().err
    assert "status.json: not a JSON file" in said and "No space left on device" in said


def test_an_account_that_was_cut_short_counts_as_none(tmp_path):
    for content in ("", "{", "[1]"):
        (tmp_path / requeue.ATTEMPTS).write_text(content)
        assert requeue.attempts(tmp_path) == {}
    requeue.keep_account(tmp_path, fruitless=2)
    requeue.keep_account(tmp_path, fruitless=1)
    assert requeue.attempts(tmp_path) == {"fruitless": 1}
    assert (tmp_path / requeue.ATTEMPTS).stat().st_size == requeue.ROOM


@pytest.mark.parametrize("account", [
    {"job": "7", "fruitless": "2"}, {"job": "7", "fruitless": None}, {"job": "7", "start": {"a": 1}},
    {"job": "7", "start": [1, "x"]}, {"job": "7", "start": [1]}, {"job": "7", "verdict": ["AGAIN"]}, {"job": 7}, [1], None])
def test_an_account_of_another_form_counts_as_none(tmp_path, monkeypatch, account):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (tmp_path / requeue.ATTEMPTS).write_text(json.dumps(account))
    assert requeue.attempts(tmp_path) == {}
    assert requeue.begin(tmp_path) == (0, "no checkpoint yet")


@pytest.mark.parametrize("holder", [["x"], 5, {"a": 1}, True])
def test_a_lock_that_names_no_job(tmp_path, holder):
    (tmp_path / "lock").write_text(json.dumps({"job": holder}))
    assert requeue.running_elsewhere(tmp_path) is None


def test_starts_of_an_account_are_numbers(tmp_path):
    requeue.keep_account(tmp_path, job="7", start=(1, 2, 0, 0), fruitless=1, verdict="AGAIN", reason="it was preempted")
    assert requeue.attempts(tmp_path)["start"] == [1, 2, 0, 0]
    requeue.keep_account(tmp_path, job="7", element=None, start=None, fruitless=0)
    assert requeue.attempts(tmp_path) == {"job": "7", "element": None, "start": None, "fruitless": 0}
