"""Requeueing of batch jobs: the record before a training, and the decision after it.

A job is requeued if its training was interrupted after some progress. Progress means that the newest checkpoint is
further than at the start of the job, if only by one tested song. Without progress, the job is tried again a few times
(a process was killed, a node is broken). It is not tried again if the run has never written a checkpoint and failed
with an error. Restarts by Slurm itself are counted, too, since `end` is not called when a node dies. `scancel` ends a
job for good, and all later jobs of its chain. The state between two starts is kept in attempts.json in the folder of
the run. This module does not import torch.
"""

import enum
import json
import os
import sys
import time
import typing as tp
from pathlib import Path

from .. import schema
from ..errors import DemucsError
from ..ranges import COUNT, from_environment
from ..schema import RunStatus
from . import slurm
from .layout import ATTEMPTS, STATUS
from .lock import this_job
from .progress import Progress, progress

ROOM = 1024               # size of attempts.json in bytes
MOST = 3                  # largest number of consecutive starts without progress
KILLED = 128              # a shell's exit status of a process ended by a signal is this plus its number
TERMINATED = KILLED + 15
NOTHING_TO_START = 13


class Verdict(enum.IntEnum):
    """Decision on how a job continues when its training has ended: the run is done, the job is tried again, it was
    stopped for good, or it is given up."""
    DONE = 0
    AGAIN = 10
    STOPPED = 11
    GIVEN_UP = 12


def judge(*, exit_status: int, status: tp.Optional[RunStatus], progressed: bool, ever: bool, fruitless: int,
          preempted: bool, words: str = "", most: int = MOST, readable: bool = True) -> tp.Tuple[Verdict, str]:
    """Decide how a job continues after its training has ended. Returns the decision and its reason.

    Args:
        exit_status: of srun, for all tasks.
        status: last status that the run wrote in this start of the job, if any.
        progressed: whether the newest checkpoint is further than at the start.
        ever: whether there is any checkpoint.
        fruitless: number of consecutive starts without progress, including this one.
        preempted: whether Slurm preempts the job.
        words: Slurm's message about the first task that failed, such as "n1: task 0: Killed". The other tasks are
            killed then, so their exit statuses mean little.
        most: number of consecutive starts without progress after which the job is given up.
        readable: whether the status could be read. If not, an exit status of 0 does not mean that the run is done.
    """
    state, why = (status.state, status.reason) if status is not None else ("", "")
    if exit_status == 0 and (state == "done" or status is None and readable):
        return Verdict.DONE, "the run is done" if state else "nothing was trained"
    if preempted:
        return Verdict.AGAIN, "it was preempted"
    terminated = exit_status == TERMINATED and (not words or words.endswith("Terminated"))
    if why == "SIGTERM" or (terminated and state in ("running", "")):
        return Verdict.STOPPED, "it was stopped by SIGTERM"
    place = f"in epoch {status.epoch}, after step {status.step}" if status is not None else \
        "before training began" if readable else "its status cannot be read"
    reason = {"stopped": f"it was stopped by {why}", "failed": f"it failed: {why}" + (words and f"; {words}")}.get(
        state, words or f"a process ended with status {exit_status}") + f" ({place})"
    if progressed:
        return Verdict.AGAIN, reason
    if fruitless >= most:
        return Verdict.GIVEN_UP, f"{reason}. {fruitless} starts in a row have made no progress"
    refused = exit_status < KILLED or "Exited with exit code" in words
    if not ever and refused and state in ("failed", ""):
        return Verdict.GIVEN_UP, f"{reason}. It has never made progress, so another start would end in the same way"
    return Verdict.AGAIN, f"{reason}, without progress, {fruitless} of {most} times"


def counting_key(chain: bool) -> tp.Optional[str]:
    """Key of the starts that are counted together: the id of this job (None outside of Slurm), or of the array for a
    job of a `chain`."""
    return os.environ["SLURM_ARRAY_JOB_ID"] if chain else this_job()


def keep_account(folder: Path, **account: tp.Any) -> None:
    """Write `account` as JSON to attempts.json in `folder`, in place, which works on a full disk, too. A truncated file
    counts as missing; then only the number of starts is lost. Raises OSError."""
    text = json.dumps(account).encode()
    with open(os.open(folder / ATTEMPTS, os.O_RDWR | os.O_CREAT, 0o666), "wb", buffering=0) as file:
        file.write(text.ljust(ROOM - 1)[:ROOM - 1] + b"\n")


def attempts(folder: Path) -> tp.Dict[str, tp.Any]:
    """Content of attempts.json in `folder`, written at or after the last start of the job; empty if the file is missing
    or damaged."""
    try:
        found = schema.read_json(folder / ATTEMPTS)
    except (OSError, schema.SchemaError):
        return {}
    kinds = {"job": str, "element": str, "fruitless": int, "verdict": str, "reason": str, "start": list}
    if not isinstance(found, dict) or any(not isinstance(value, (kinds.get(key, object), type(None)))
                                          for key, value in found.items()):
        return {}
    start = found.get("start") or []
    whole = all(isinstance(number, int) for number in (*start, found.get("fruitless", 0)))
    return found if whole and len(start) in (0, 2, 4) else {}


def running_elsewhere(folder: Path) -> tp.Optional[str]:
    """Id of another running job that trains the run in `folder` according to its lock file; None if there is none or
    Slurm does not answer. This adds to the lock itself only on file systems whose locks are not effective across
    nodes."""
    try:
        holder = schema.read_json(folder / "lock")["job"]
    except (schema.SchemaError, KeyError, TypeError):
        return None
    if not holder or not isinstance(holder, str) or holder == this_job():
        return None
    asked = slurm.ask("squeue", "--noheader", "--format=%T", "--jobs", holder) or ""
    return holder if asked.strip() == "RUNNING" else None


def cancelled(job: tp.Optional[str]) -> bool:
    """Whether the job with this id was cancelled, for which up to a minute is waited while it ends. False for None, and
    if Slurm does not answer or does not know the job any more."""
    deadline = time.monotonic() + 60
    while job:
        asked = (slurm.ask("squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job) or "").strip()
        if asked != "COMPLETING" or time.monotonic() > deadline:
            return asked == "CANCELLED"
        time.sleep(2)
    return False


def further(now: tp.Optional[Progress], start: tp.Optional[tp.Sequence[int]]) -> bool:
    """Whether the progress `now` is beyond `start`, that recorded in attempts.json; None stands for no checkpoint.
    Older files have epochs and steps only."""
    before = tuple(start or ())
    return now is not None and now > before + (0,) * (len(now) - len(before))


def begin(folder: Path, *, chain: bool = False, most: int = MOST) -> tp.Tuple[int, str]:
    """Check that the run in `folder` may start in this job, and record its progress. Returns an exit status and a
    message: 0 to start; `NOTHING_TO_START` if its chain has ended; 2 if another job trains the run, or `most` starts in
    a row have made no progress. Raises OSError if the record cannot be written."""
    other = running_elsewhere(folder)
    if other is not None:
        return 2, f"job {other} is training {folder.name}: one job at a time. scancel it, or wait for its end"
    last = attempts(folder)
    if last.get("job") != counting_key(chain):
        last = {}
    # A start without a verdict was killed together with its script: by scancel, by preemption without grace, or because
    # its node died. Slurm knows which for some minutes; if it does not know any more, the chain continues.
    ended = "verdict" in last
    if chain:
        if last and not ended and cancelled(last.get("element")):
            last.update(verdict=Verdict.STOPPED.name, reason=f"job {last['element']} was cancelled")
            keep_account(folder, **last)
        if last.get("verdict", "AGAIN") != "AGAIN":
            return NOTHING_TO_START, f"the chain has ended before: {last.get('reason')}"
    folder.mkdir(parents=True, exist_ok=True)
    start, fruitless = progress(folder), last.get("fruitless", 0)
    if last and not ended:           # the job was restarted by Slurm itself
        fruitless = 0 if further(start, last.get("start")) else fruitless + 1
    if fruitless >= most and not ended:
        reason = f"{fruitless} starts in a row have made no progress, the last of them killed together with its script"
        keep_account(folder, job=counting_key(chain), start=start, fruitless=fruitless, verdict=Verdict.GIVEN_UP.name,
                     reason=reason)
        return 2, reason
    keep_account(folder, job=counting_key(chain), element=this_job(), start=start, fruitless=fruitless)
    return 0, "no checkpoint yet" if start is None else f"{start[0]} epochs and {start[1]} steps are done"


def last_said(folder: Path) -> tp.Tuple[tp.Optional[RunStatus], bool]:
    """(status that the run in `folder` has written in this start of the job, else None; whether the status file was
    missing or readable)."""
    path = folder / STATUS
    if not path.exists():
        return None, True
    try:
        status = schema.load(RunStatus, path)
    except (OSError, DemucsError) as error:
        print(f"Note: {error}", file=sys.stderr)
        return None, False
    restarts = from_environment("SLURM_RESTART_COUNT", 0, COUNT)
    of_this_start = (status.job or "", status.restarts) == (os.environ.get("SLURM_JOB_ID", ""), restarts)
    return status if of_this_start else None, True


def end(folder: Path, *, exit_status: int, preempted: bool, words: str, most: int, chain: bool = False
        ) -> tp.Tuple[Verdict, str]:
    """Decide how the job continues after the training of the run in `folder` has ended, and record the decision for its
    next start. Returns the decision and its reason; the arguments are those of `judge`."""
    last = attempts(folder)
    if last.get("job") != counting_key(chain):         # attempts.json was written by another job, which was refused
        last = {}
    start, now = last.get("start"), progress(folder)
    progressed = further(now, start)
    fruitless = 0 if progressed or preempted else last.get("fruitless", 0) + 1
    status, readable = last_said(folder)
    verdict, reason = judge(exit_status=exit_status, status=status, readable=readable, progressed=progressed,
                            ever=now is not None, fruitless=fruitless, preempted=preempted, words=words, most=most)
    try:
        keep_account(folder, job=counting_key(chain), element=this_job(), start=start, fruitless=fruitless,
                     verdict=verdict.name, reason=reason[:500])
    except OSError as error:         # a failed record must not end the job
        print(f"Note: cannot keep account of the starts of {folder.name}: {error}", file=sys.stderr)
    return verdict, reason
