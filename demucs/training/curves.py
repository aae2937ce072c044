"""Curves for TensorBoard, as an option: `misc.tensorboard=true`, in the folder `tensorboard` of the run.

Everything is drawn over one axis, the optimiser steps since the run began; epochs stand at their last step. Only
numbers that exist already are written, by a thread of the writer. A run that goes on hides what it had written after
the moment it goes on from, so that its curves have no step twice.
"""

import importlib.util
import logging
import typing as tp
from pathlib import Path

from ..errors import ConfigError
from ..schema import EpochRecord
from .stages import Average

logger = logging.getLogger(__name__)

FOLDER = "tensorboard"
EVERY = 20           # steps between two points
QUEUE = 100_000      # points that may wait for the disk before a step would
FLUSH = 30           # seconds after which a point is on disk, at the latest


def require_tensorboard() -> None:
    """Raises ConfigError where the package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("misc.tensorboard=true needs the package tensorboard, which is not installed: "
                          "pip install -c constraints.txt tensorboard, or leave misc.tensorboard at false")


class Curves:
    """The curves of a run in `folder`, `steps` steps long an epoch. With `wanted` false nothing is ever written."""

    def __init__(self, folder: Path, *, steps: int, wanted: bool, every: int = EVERY):
        self.folder = folder / FOLDER
        self.steps = steps
        self.wanted = wanted
        self.every = every
        self._writer: tp.Any = None
        self._known = False
        self._seen = Average()           # what the last point of this epoch stands at

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        return {} if self._writer is None else self._seen.state_dict()

    def load_state_dict(self, state: tp.Mapping[str, tp.Any]) -> None:
        """Before `begin`, so that the next point says the same as without a stop. An empty one says nothing."""
        self._seen = Average.restored([state] if state else [])
        self._known = bool(state)

    def begin(self, step: int, average: Average, history: tp.Sequence[EpochRecord]) -> None:
        """The run begins, or goes on after the epochs of `history` and `step` steps, with these averages so far. Epochs
        that it had before there were curves are drawn first."""
        if not self.wanted:
            return
        from torch.utils.tensorboard import SummaryWriter
        fresh = not any(self.folder.glob("events.*"))
        position = len(history) * self.steps + step
        trained = step == self.steps     # at this step stands the epoch itself, which is to be validated yet
        hidden = position if trained else position + 1
        try:
            self._writer = SummaryWriter(str(self.folder), flush_secs=FLUSH, max_queue=QUEUE,
                                         purge_step=None if fresh else hidden)
        except OSError as error:
            self._give_up(error)
        if trained:
            self._seen = Average()
        elif not self._known:
            self._seen = Average.restored([average.state_dict()])
        for number, record in enumerate(history if fresh else [], start=1):
            self.epoch(number, record)

    def draw(self, history: tp.Sequence[EpochRecord]) -> None:
        """Draw the epochs of a run that is done, unless its curves were drawn while it went on."""
        if not any(self.folder.glob("events.*")):
            self.begin(0, Average(), history)

    def step(self, epoch: int, done: int, average: Average) -> None:
        """After `done` steps of an epoch (counted from 0), with the averages over them on this rank: every so often,
        the mean since the last time."""
        if self._writer is None or done % self.every and done != self.steps:
            return
        seen, self._seen = self._seen, Average.restored([average.state_dict()])
        if done == self.steps:
            self._seen = Average()       # the next ones belong to another epoch
            return
        count = average.count - seen.count
        if count > 0:
            self._write({f"step/{key}": (total - seen.totals.get(key, 0.)) / count
                         for key, total in average.totals.items()}, epoch * self.steps + done)

    def epoch(self, number: int, record: EpochRecord) -> None:
        """Epoch `number`, counted from 1, is done."""
        points = {f"{part}/{key}": value
                  for part, metrics in (("train", record.train), ("valid", record.valid), ("test", record.test or {}),
                                        ("seconds", record.seconds or {})) for key, value in metrics.items()}
        for name, metrics in record.candidates.items():
            if "nsdr" in metrics:
                points[f"nsdr_by_weights/{name}"] = metrics["nsdr"]
        self._write({**points, "valid/best": record.best}, number * self.steps)
        self.flush()

    def flush(self) -> None:
        """What is written so far is on disk. A checkpoint must not be ahead of the curves."""
        if self._writer is not None:
            self._guarded(self._writer.flush)

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._guarded(writer.close)

    def _write(self, points: tp.Mapping[str, float], step: int) -> None:
        for tag, value in points.items():
            if self._writer is not None and isinstance(value, (int, float)):
                self._guarded(self._writer.add_scalar, tag, value, step)

    def _guarded(self, call: tp.Callable[..., None], *arguments: tp.Any) -> None:
        try:
            call(*arguments)
        except (OSError, ValueError, RuntimeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """A full disk costs the curves, not the run."""
        logger.warning("cannot write curves in %s: %s. This session draws none any more.", self.folder, error)
        self._writer = None
