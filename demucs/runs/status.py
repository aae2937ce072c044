"""Status file of a run, `status.json`: its current state, or how it ended. Batch scripts use it to decide on
requeueing.

While the process is alive, a thread updates the modification time of the file. A file that is not updated belongs to a
run that was killed, rather than to one in a long step. Beginnings and ends of sessions are also written to the ledger.
"""

import contextlib
import dataclasses
import datetime
import logging
import os
import platform
import threading
import time
import typing as tp
import uuid
from pathlib import Path

from ..ranges import COUNT, WORLD_SIZE, from_environment
from ..schema import EpochRecord, LedgerLine, RunStatus, SchemaError, load, save
from . import ledger
from .layout import STATUS
from .lock import lost
from .provenance import commit, now

logger = logging.getLogger(__name__)

EVERY = 10.      # seconds between two updates of the content during a run
BEAT = 20.       # seconds between two updates of the modification time


class Members(tp.Protocol):
    """Interface of the process group that `StatusFile` needs; `training.distributed.Group` implements it."""
    world_size: int
    is_first: bool
    device_name: str

    def machines(self) -> tp.Tuple[tp.List[str], tp.Dict[str, int]]: ...


def place() -> tp.Dict[str, tp.Any]:
    """Host, process id and Slurm job of this process, as fields of a status."""
    return dict(host=platform.node(), process=os.getpid(), job=os.environ.get("SLURM_JOB_ID"),
                restarts=from_environment("SLURM_RESTART_COUNT", 0, COUNT))


def refused(folder: Path, signature: str, reason: str) -> None:
    """Write the status "failed" of the run `signature` in `folder`, which could not begin, with the error message as
    `reason`. Does nothing if this process has already written the failure, or if the run is done. Errors of writing are
    logged."""
    path = folder / STATUS
    before = last_said(folder)
    here = place()
    if before is None:
        before = RunStatus(signature=signature, epoch=1, step=0, steps=0, epochs=0, best_nsdr=None,
                           seconds_per_step=None, world_size=from_environment("WORLD_SIZE", 1, WORLD_SIZE), device="",
                           started=now(), updated=now(), state="", reason="", **here)
    if before.state == "done" or before.state == "failed" and (before.host, before.process) == (here["host"], here["process"]):
        return
    with harmless(folder):
        close_killed(folder, before)
        save(dataclasses.replace(before, state="failed", reason=reason, started=now(), updated=now(), **here), path)


def last_said(folder: Path) -> tp.Optional[RunStatus]:
    """Status that the last session of the run in `folder` wrote; None if it is missing or unreadable."""
    try:
        return load(RunStatus, folder / STATUS)
    except (SchemaError, OSError):
        return None


def close_killed(folder: Path, status: tp.Optional[RunStatus]) -> None:
    """Add the missing end of the session that wrote `status` to the ledger in `folder`, if that session was killed.
    Raises OSError."""
    if status is not None and status.state == "running":      # it was alive until the file was last touched
        touched = datetime.datetime.fromtimestamp((folder / STATUS).stat().st_mtime, datetime.timezone.utc)
        status = dataclasses.replace(status, updated=max(status.updated, touched.isoformat(timespec="seconds")))
    for end in ledger.killed(ledger.read(folder)[0], status):
        ledger.append(end, folder)


@contextlib.contextmanager
def harmless(folder: Path) -> tp.Iterator[None]:
    """Context in which errors of writing in `folder` are logged instead of raised: a failed status must not stop the
    training."""
    try:
        yield
    except (OSError, ValueError) as error:
        logger.warning("cannot write the ledger or the status in %s: %s", folder, error)


class StatusFile:
    """Writer of the status and the ledger of a run in `folder`, which has `epochs` epochs of `steps` steps. Only rank 0
    writes. A status that cannot be written does not stop the training."""

    def __init__(self, folder: Path, group: Members, *, signature: str, epochs: int, steps: int):
        self.path = folder / STATUS
        self.group = group
        self.constant: tp.Dict[str, tp.Any] = dict(
            signature=signature, epochs=epochs, steps=steps, world_size=group.world_size, device=group.device_name,
            started=now(), **place())
        self.epoch, self.step = 1, 0
        self.best_nsdr: tp.Optional[float] = None
        self._begin: tp.Optional[tp.Tuple[float, int]] = None    # time and number of the first step of this session
        self._written = 0.
        self._session: tp.Optional[LedgerLine] = None
        self._begun = time.monotonic()
        self._ended = threading.Event()

    def begin(self, epoch: int, step: int) -> None:
        """Begin a session after `epoch` epochs and `step` steps of the next one: write it to the ledger, and keep the
        status file's modification time current from now on. A collective call."""
        nodes, gpus = self.group.machines()
        if not self.group.is_first:
            return
        known = {key: self.constant[key] for key in ("signature", "started", "steps", "world_size", "host", "process",
                                                     "job", "restarts")}
        self._session = LedgerLine(session=uuid.uuid4().hex[:12], event="start", first_epoch=epoch, first_step=step,
                                   epoch=epoch, step=step, gpus=gpus, nodes=nodes, commit=commit(), **known)
        with harmless(self.path.parent):
            close_killed(self.path.parent, last_said(self.path.parent))
            ledger.append(self._session, self.path.parent)
        threading.Thread(target=self._touch_regularly, name="status", daemon=True).start()

    def _touch_regularly(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def progress(self, epoch: int, step: int, history: tp.Sequence[EpochRecord]) -> None:
        """Note that the run has done `step` steps of epoch `epoch` (counted from 0), after those in `history`. The
        status is written at most every ten seconds."""
        self.epoch, self.step = epoch + 1, step
        scores = [record.valid["nsdr"] for record in history if record.valid.get("nsdr") is not None]
        self.best_nsdr = max(scores, default=None)
        count = epoch * self.constant["steps"] + step
        if self._begin is None:
            self._begin = (time.monotonic(), count)
        if time.monotonic() - self._written >= EVERY:
            self.write("running")

    def write(self, state: str, reason: str = "") -> None:
        """Write the status with a state and a reason as in `RunStatus`. Any state but "running" ends the session in the
        ledger. Does nothing on other ranks, and if the folder was moved or deleted."""
        if not self.group.is_first or lost(self.path.parent):   # moved, deleted or cleared
            return
        if state != "running":
            self._end(state, reason)
        pace = None
        if self._begin is not None:
            begin, first = self._begin
            steps = (self.epoch - 1) * self.constant["steps"] + self.step - first
            pace = (time.monotonic() - begin) / steps if steps else None
        with harmless(self.path.parent):
            save(RunStatus(**self.constant, state=state, reason=reason, epoch=self.epoch, step=self.step,
                           best_nsdr=self.best_nsdr, seconds_per_step=pace, updated=now()), self.path)
        self._written = time.monotonic()

    def _end(self, state: str, reason: str) -> None:
        """End the session, if one has begun."""
        self._ended.set()
        if self._session is not None:
            line, self._session = self._session, None
            with harmless(self.path.parent):
                ledger.append(dataclasses.replace(line, event="end", epoch=self.epoch - 1, step=self.step, state=state,
                                                  reason=reason, seconds=time.monotonic() - self._begun),
                              self.path.parent)
