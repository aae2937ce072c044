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
    """Saver of a run's checkpoints in `folder`, at the intervals of `plan`, which also stops the run on request.

    Args:
        folder: of the run.
        plan: intervals.
        group: the ranks.
        requests: signals that were received.
        watchdog: restarted between two steps.
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

    def asking(self, due: bool = False) -> tp.List[float]:
        """What this rank asks for: a checkpoint that is `due`, or after `save_minutes`, and what it was requested. The
        sums over all ranks are for `go_on`."""
        return self.requests.asking(due or self._due())

    def go_on(self, answers: tp.Optional[tp.Sequence[float]] = None) -> None:
        """Save a checkpoint if one is requested, due, or `save_minutes` have passed, and stop the run if that is
        requested. `answers` are the sums of `asking` over all ranks, if they were made already. Called between two
        steps; a collective call.

        The model must have its own weights, not those of an average.

        Raises:
            Stopped: after saving, if a stop was requested.
            TrainingError: if a checkpoint or the records cannot be written.
        """
        self.watchdog.beat()
        stop, save = self.requests.agreed(self._due()) if answers is None else self.requests.answered(answers)
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
        """Whether a stop is requested. For calls between two steps while the model has other weights, so that nothing
        is saved here; a requested checkpoint is saved by the next `go_on`. A collective call."""
        return self._agreed(False)[0]

    def asked_to_save_or_stop(self) -> bool:
        """Whether a stop or a checkpoint is requested, or `save_minutes` have passed: like `asked_to_stop`, for passes
        that can continue after a checkpoint. A collective call."""
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
        """Write a checkpoint in the background, as `Checkpoints.save` does and with its errors. `keep_as` is the name
        of a second file that is never deleted. A collective call."""
        entries = self._entries()
        if self.group.is_first:
            self.checkpoints.save({**self._content(), **entries}, keep_as=keep_as)
        self._saved = time.monotonic()

    def publish(self, epoch: int, best_changed: bool = False) -> None:
        """Write the records of the run on rank 0; nothing on other ranks. `epoch` is the number of the present or last
        epoch, for an error message, `best_changed` whether the best weights have changed.

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
        """Wait on all ranks until the last checkpoint is on disk. A collective call. Raises TrainingError on rank 0 if
        it could not be written."""
        self.checkpoints.wait()
        self.group.barrier()
