"""Agreement of the ranks between two steps: saving when a checkpoint is due, and stopping on request."""

import dataclasses
import logging
import time
import typing as tp
from pathlib import Path

from ..errors import TrainingError
from .checkpoints import Checkpoints
from .distributed import Group
from .interruption import Requests, Stopped, Watchdog

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Length of a training, and intervals of its tests and checkpoints.

    Attributes:
        epochs: number of epochs.
        patience: number of epochs without a better validation after which training stops early; None for no limit.
        test_every: epochs between tests; the last epoch is always tested.
        test_best: test the best weights rather than the last ones.
        save_every: epochs between checkpoints that are kept; None keeps the last two only.
        save_minutes, save_steps: time and steps between checkpoints within an epoch; 0 for none.
    """
    epochs: int
    patience: tp.Optional[int]
    test_every: int
    test_best: bool
    save_every: tp.Optional[int]
    save_minutes: float
    save_steps: int


class Saving:
    """Saving of checkpoints of a run in `folder`, at the intervals of `plan`.

    Args:
        entries: called on all ranks together; returns the entries of a checkpoint that are gathered from all ranks.
        content: called on rank 0; returns all other entries.
        records: called on rank 0 with whether the best weights have changed; writes the records of the run.
        epochs_done: returns the number of epochs that are done.
        stopped: called with the name of the signal when the run is saved and stops.
    """

    def __init__(self, folder: Path, plan: Plan, *, group: Group, requests: Requests, watchdog: Watchdog,
                 entries: tp.Callable[[], tp.Dict[str, tp.Any]], content: tp.Callable[[], tp.Dict[str, tp.Any]],
                 records: tp.Callable[[bool], None], epochs_done: tp.Callable[[], int],
                 stopped: tp.Callable[[str], None]):
        self.folder, self.plan, self.group = folder, plan, group
        self.requests, self.watchdog = requests, watchdog
        self._entries, self._content, self._stopped = entries, content, stopped
        self._records, self._epochs_done = records, epochs_done
        self.checkpoints = Checkpoints(folder)
        self._saved = time.monotonic()

    def go_on(self, due: bool = False) -> None:
        """Save if a checkpoint is due or requested, and stop if that is requested. Called between two steps; a
        collective call.

        The model must have its own weights, not those of an average.

        Raises:
            Stopped: after saving, if a stop was requested.
        """
        self.watchdog.beat()
        stop, save = self.requests.agreed(due or self._due())
        if stop or save:
            self.save()
        if stop:
            self.publish(self._epochs_done() + 1)
            self.finish()
            self._stopped(self.requests.stop_signal)
            raise Stopped(self.requests.stop_signal)

    def in_between(self) -> bool:
        """`go_on` as the argument `leave` of a pass with the model's own weights. Always returns False, since that pass
        need not end for a checkpoint."""
        self.go_on()
        return False

    def asked_to_stop(self) -> bool:
        """Whether a stop is requested, between two steps while the model has other weights. A collective call."""
        return self._agreed(False)[0]

    def asked_to_save_or_stop(self) -> bool:
        """Whether a stop or a checkpoint is requested, or a checkpoint is due: like `asked_to_stop`, for passes that
        can continue after a checkpoint."""
        return any(self._agreed(self._due()))

    def _agreed(self, due: bool) -> tp.Tuple[bool, bool]:
        self.watchdog.beat()
        stop, save = self.requests.agreed(due)
        self.requests.save_wanted |= save        # handled by `go_on`, once the model has its own weights again
        return stop, save

    def _due(self) -> bool:
        """Whether `save_minutes` have passed since the last checkpoint."""
        return bool(self.plan.save_minutes) and time.monotonic() - self._saved >= 60 * self.plan.save_minutes

    def save(self, keep_as: tp.Optional[str] = None) -> None:
        """Write a checkpoint in the background. A collective call."""
        entries = self._entries()
        if self.group.is_first:
            self.checkpoints.save({**self._content(), **entries}, keep_as=keep_as)
        self._saved = time.monotonic()

    def publish(self, epoch: int, best_changed: bool = False) -> None:
        """Write the records of the run on rank 0, in or after epoch number `epoch`.

        Raises:
            TrainingError: if they cannot be written, or if the folder was moved or deleted.
        """
        if not self.group.is_first:
            return
        self.checkpoints.require_ours()
        try:
            self._records(best_changed)
        except OSError as error:
            raise TrainingError(f"cannot write the records of epoch {epoch} in {self.folder}: {error}. The last "
                                f"checkpoint is untouched; free some space and start the run again, it continues from "
                                f"there.") from error

    def finish(self) -> None:
        """Wait on all ranks until the last checkpoint is on disk."""
        self.checkpoints.wait()
        self.group.barrier()
