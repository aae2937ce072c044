"""Optional TensorBoard curves of a run (`misc.tensorboard=true`), in its folder `tensorboard`.

The horizontal axis of all curves is the number of optimiser steps since the run began; values of an epoch are drawn at
its last step. Nothing is computed for the curves alone, and the writer has its own thread. A run that continues from a
checkpoint purges the points written after that checkpoint, so that no step appears twice.
"""

import importlib.util
import logging
import typing as tp
from pathlib import Path

from ..errors import ConfigError
from ..schema import EpochRecord
from .reports import Average

logger = logging.getLogger(__name__)

FOLDER = "tensorboard"
EVERY = 20           # steps between two points
QUEUE = 100_000      # points that may wait for the disk before a training step waits
FLUSH = 30           # longest time until a point is on disk, in seconds


def require_tensorboard() -> None:
    """Check that the package tensorboard is installed; it is not imported.

    Raises:
        ConfigError: if it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("misc.tensorboard=true needs the package tensorboard, which is not installed: "
                          "pip install -c constraints.txt tensorboard, or leave misc.tensorboard at false")


class Curves:
    """Writer of the TensorBoard curves of a run. If they cannot be written, it logs a warning and stops drawing.

    Args:
        folder: of the run; curves are in its folder `tensorboard`.
        steps: optimiser steps per epoch.
        wanted: if False, nothing is written.
        every: steps between two points within an epoch.
    """

    def __init__(self, folder: Path, *, steps: int, wanted: bool, every: int = EVERY):
        self.folder = folder / FOLDER
        self.steps = steps
        self.wanted = wanted
        self.every = every
        self._writer: tp.Any = None
        self._known = False
        self._seen = Average()           # the running average at the last point of this epoch

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        """Running average at the last point of this epoch, for a checkpoint; empty if nothing is written."""
        return {} if self._writer is None else self._seen.state_dict()

    def load_state_dict(self, state: tp.Mapping[str, tp.Any]) -> None:
        """Restore the running average of the last point, so that the next one is the same as without an interruption.
        To be called before `begin`. An empty state is ignored."""
        self._seen = Average.restored([state] if state else [])
        self._known = bool(state)

    def begin(self, step: int, average: Average, history: tp.Sequence[EpochRecord]) -> None:
        """Open the writer, at the start of a session of a run that has the epochs of `history` and `step` steps of the
        next one, whose running average is `average`. Points after that position are removed. If the folder has no
        curves yet, those of the past epochs are written first."""
        if not self.wanted:
            return
        from torch.utils.tensorboard import SummaryWriter
        fresh = not any(self.folder.glob("events.*"))
        position = len(history) * self.steps + step
        trained = step == self.steps     # the epoch is not validated yet, and its values will be drawn at this step
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
        """Write the curves of the epochs in `history`, those of a finished run, unless the folder has curves
        already."""
        if not any(self.folder.glob("events.*")):
            self.begin(0, Average(), history)

    def step(self, epoch: int, done: int, average: Average) -> None:
        """Note the running `average` of the training metrics on this rank, after `done` steps of epoch `epoch` (counted
        from 0). Once every `every` steps, write the mean over the steps since the last point. The last step of an epoch
        has no point."""
        if self._writer is None or done % self.every and done != self.steps:
            return
        seen, self._seen = self._seen, Average.restored([average.state_dict()])
        if done == self.steps:
            self._seen = Average()       # the next step belongs to another epoch
            return
        count = average.count - seen.count
        if count > 0:
            self._write({f"step/{key}": (total - seen.totals.get(key, 0.)) / count
                         for key, total in average.totals.items()}, epoch * self.steps + done)

    def epoch(self, number: int, record: EpochRecord) -> None:
        """Write the metrics in `record`, those of epoch `number` (counted from 1), at its last step, and flush."""
        points = {f"{part}/{key}": value
                  for part, metrics in (("train", record.train), ("valid", record.valid), ("test", record.test or {}),
                                        ("seconds", record.seconds or {})) for key, value in metrics.items()}
        for name, metrics in record.candidates.items():
            if "nsdr" in metrics:
                points[f"nsdr_by_weights/{name}"] = metrics["nsdr"]
        self._write({**points, "valid/best": record.best}, number * self.steps)
        self.flush()

    def flush(self) -> None:
        """Write all waiting points to disk. Called before each checkpoint, so that it is never ahead of the curves."""
        if self._writer is not None:
            self._guarded(self._writer.flush)

    def close(self) -> None:
        """Write all waiting points and close the files."""
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
        """Stop drawing: a full disk must not stop the run."""
        logger.warning("cannot write curves in %s: %s. No more curves are written in this session.", self.folder, error)
        self._writer = None
