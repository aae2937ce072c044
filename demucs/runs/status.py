"""The file `status.json` of a run: what it is doing now, or how it ended. Batch scripts decide by it whether to go on.

While the process lives, a thread touches the file, so that its age tells a run that was killed from one that is busy
with something long. The same moments go into the ledger of the run.
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

EVERY = 10.      # seconds between two updates of a running one
BEAT = 20.       # seconds between two signs of life


class Members(tp.Protocol):
    """The processes that train together, as `training.distributed.Group` describes them to one of them."""
    world_size: int
    is_first: bool
    device_name: str

    def machines(self) -> tp.Tuple[tp.List[str], tp.Dict[str, int]]: ...


def place() -> tp.Dict[str, tp.Any]:
    """Where this process runs, as in a status."""
    return dict(host=platform.node(), process=os.getpid(), job=os.environ.get("SLURM_JOB_ID"),
                restarts=from_environment("SLURM_RESTART_COUNT", 0, COUNT))


def refused(folder: Path, signature: str, reason: str) -> None:
    """The run could not begin, for a reason that the user is told. Does nothing where it had begun, and said that
    itself, nor to a run that has come to its end."""
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
    """The status that the session before left, if it can be read."""
    try:
        return load(RunStatus, folder / STATUS)
    except (SchemaError, OSError):
        return None


def close_killed(folder: Path, status: tp.Optional[RunStatus]) -> None:
    """Write down the end of the session that `status` is about, if it had none."""
    if status is not None and status.state == "running":      # it lived until the file was last touched
        touched = datetime.datetime.fromtimestamp((folder / STATUS).stat().st_mtime, datetime.timezone.utc)
        status = dataclasses.replace(status, updated=max(status.updated, touched.isoformat(timespec="seconds")))
    for end in ledger.killed(ledger.read(folder)[0], status):
        ledger.append(end, folder)


@contextlib.contextmanager
def harmless(folder: Path) -> tp.Iterator[None]:
    """Records of how it goes must not be what stops it."""
    try:
        yield
    except (OSError, ValueError) as error:
        logger.warning("cannot write the ledger or the status in %s: %s", folder, error)


class StatusFile:
    """Keeps the status of a run in `folder`. Only the first rank writes; a status that cannot be written stops
    nothing."""

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
        """A session begins, after `epoch` epochs and `step` steps of the next one. All ranks call this together."""
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
        threading.Thread(target=self._live, name="status", daemon=True).start()

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def progress(self, epoch: int, step: int, history: tp.Sequence[EpochRecord]) -> None:
        """The run has done `step` steps of an epoch (counted from 0)."""
        self.epoch, self.step = epoch + 1, step
        scores = [record.valid["nsdr"] for record in history if record.valid.get("nsdr") is not None]
        self.best_nsdr = max(scores, default=None)
        count = epoch * self.constant["steps"] + step
        if self._begin is None:
            self._begin = (time.monotonic(), count)
        if time.monotonic() - self._written >= EVERY:
            self.write("running")

    def write(self, state: str, reason: str = "") -> None:
        """State and reason as in `RunStatus`."""
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
        """The session ends, if one had begun."""
        self._ended.set()
        if self._session is not None:
            line, self._session = self._session, None
            with harmless(self.path.parent):
                ledger.append(dataclasses.replace(line, event="end", epoch=self.epoch - 1, step=self.step, state=state,
                                                  reason=reason, seconds=time.monotonic() - self._begun),
                              self.path.parent)
