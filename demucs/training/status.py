"""The file `status.json` of a run: what it is doing now, or how it ended. Batch scripts decide by it whether to go on."""

import logging
import os
import platform
import time
import typing as tp
from pathlib import Path

from ..inference.provenance import now
from ..schema import EpochRecord, RunStatus, save
from .distributed import Group
from .records import device_name

logger = logging.getLogger(__name__)

STATUS = "status.json"
EVERY = 10.      # seconds between two updates of a running one


class StatusFile:
    """Keeps the status of a run in `folder`. Only the first rank writes; a status that cannot be written stops nothing."""

    def __init__(self, folder: Path, group: Group, *, signature: str, epochs: int, steps: int):
        self.path = folder / STATUS
        self.group = group
        self.constant: tp.Dict[str, tp.Any] = dict(
            signature=signature, epochs=epochs, steps=steps, world_size=group.world_size, device=device_name(group),
            host=platform.node(), process=os.getpid(), job=os.environ.get("SLURM_JOB_ID"),
            restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0), started=now())
        self.epoch, self.step = 1, 0
        self.best_nsdr: tp.Optional[float] = None
        self._begin: tp.Optional[tp.Tuple[float, int]] = None    # time and number of the first step of this session
        self._written = 0.

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
        if not self.group.is_first:
            return
        pace = None
        if self._begin is not None:
            begin, first = self._begin
            steps = (self.epoch - 1) * self.constant["steps"] + self.step - first
            pace = (time.monotonic() - begin) / steps if steps else None
        try:
            save(RunStatus(**self.constant, state=state, reason=reason, epoch=self.epoch, step=self.step,
                           best_nsdr=self.best_nsdr, seconds_per_step=pace, updated=now()), self.path)
        except OSError as error:
            logger.warning("cannot write %s: %s", self.path, error)
        self._written = time.monotonic()
