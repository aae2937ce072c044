"""What happens between two steps of a run: the ranks agree, save where it is due, and stop where they are asked to."""

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
    """How long a run trains, and when it tests and saves.

    Attributes:
        epochs: of the training.
        patience: epochs without a better validation after which it ends all the same; None: it does not.
        test_every: epochs between tests; the last one is always tested. `test_best`: the best weights, else the last.
        save_every: epochs between checkpoints that are kept; None: only the last two are there.
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
    """The checkpoints of a run in `folder`, as often as `plan` says.

    Args:
        entries: called on all ranks together for what each has of a checkpoint.
        content: called on the first rank for all else of it.
        publish: called on the first rank, writes what is on record of the run.
        stopped: called with the name of the signal once the run is saved and stops.
    """

    def __init__(self, folder: Path, plan: Plan, *, group: Group, requests: Requests, watchdog: Watchdog,
                 entries: tp.Callable[[], tp.Dict[str, tp.Any]], content: tp.Callable[[], tp.Dict[str, tp.Any]],
                 publish: tp.Callable[[], None], stopped: tp.Callable[[str], None]):
        self.folder, self.plan, self.group = folder, plan, group
        self.requests, self.watchdog = requests, watchdog
        self._entries, self._content, self._publish, self._stopped = entries, content, publish, stopped
        self.checkpoints = Checkpoints(folder)
        self._saved = time.monotonic()

    def go_on(self, due: bool = False) -> None:
        """Between two steps, on all ranks together: save where it is due or asked for, and stop where that is asked for.

        The model must have its own weights, not those of an average.

        Raises:
            Stopped: where a stop was asked for, once the state is saved.
        """
        self.watchdog.beat()
        stop, save = self.requests.agreed(due or self._due())
        if stop or save:
            self.save()
        if stop:
            self._publish()
            self.finish()
            self._stopped(self.requests.stop_signal)
            raise Stopped(self.requests.stop_signal)

    def in_between(self) -> bool:
        """`go_on` as the `leave` of a pass over the model's own weights, which never ends by its answer."""
        self.go_on()
        return False

    def asked_to_stop(self) -> bool:
        """Between two steps while the model has other weights, on all ranks together."""
        return self._agreed(False)[0]

    def asked_to_save_or_stop(self) -> bool:
        """The same where a checkpoint could be written in between, too."""
        return any(self._agreed(self._due()))

    def _agreed(self, due: bool) -> tp.Tuple[bool, bool]:
        self.watchdog.beat()
        stop, save = self.requests.agreed(due)
        self.requests.save_wanted |= save        # for `go_on`, once the model has its own weights
        return stop, save

    def _due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return bool(self.plan.save_minutes) and time.monotonic() - self._saved >= 60 * self.plan.save_minutes

    def save(self, keep_as: tp.Optional[str] = None) -> None:
        """Write a checkpoint, in the background. All ranks take part."""
        entries = self._entries()
        if self.group.is_first:
            self.checkpoints.save({**self._content(), **entries}, keep_as=keep_as)
        self._saved = time.monotonic()

    def publish(self, publish: tp.Callable[[], None], epoch: int) -> None:
        """Write what is on record of the run, on the first rank.

        Raises:
            TrainingError: where that cannot be written, or the folder is another.
        """
        if not self.group.is_first:
            return
        self.checkpoints.require_ours()
        try:
            publish()
        except OSError as error:
            raise TrainingError(f"cannot write the records of epoch {epoch + 1} in {self.folder}: {error}. The last "
                                f"checkpoint is untouched; free some space and start the run again, it continues from "
                                f"there.") from error

    def finish(self) -> None:
        """Until the last checkpoint is on disk, for all ranks."""
        self.checkpoints.wait()
        self.group.barrier()
