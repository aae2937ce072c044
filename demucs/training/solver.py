"""The training run: epochs of train, validate, select, sometimes test, and always save.

The solver knows stages and records, not waveforms. It can stop after any step and go on in another process, to the same
bits: everything it needs is in the registry, its position says how far the epoch has come, and chance is keyed by epoch
and step. A run may go on with another number of processes; then the batches are the same and the sums are rounded
elsewhere.
"""

import contextlib
import logging
import math
import time
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..errors import PackageError, TrainingError
from ..packages import weights
from ..runs.status import StatusFile
from ..schema import EpochRecord
from .best import Selection
from .checkpoints import Checkpoints
from .curves import Curves
from .distributed import Group
from .ema import ModelEMA, State, copy_state, swapped
from .interruption import Requests, Stopped, Watchdog, naming_shared_memory
from .position import Position
from .stages import Average, TrainStage, ValidStage, describe
from .state import FORMAT, NOTES, StateRegistry, different_settings, load_weights, read_checkpoint
from .svd import SvdSettings, exact_svd_penalty
from .testing import TestStage

logger = logging.getLogger(__name__)

TEST_KEYS = ("nsdr", "sdr")      # of the summary


class _Leaving(Exception):
    """A stop or a checkpoint was asked for while the model had other weights than its own."""


class Solver:
    """Trains `model` for `epochs` epochs in `folder`.

    Args:
        train, valid: the stages of every epoch.
        test: the stage of every `test_every` epochs and of the last one. None: there is nothing to test on.
        averages: the weight averages by name; those over epochs are listed again in `epoch_averages`.
        selection: how the best weights are chosen. With `always_newest` every epoch's choice becomes the best, for
            training that includes the validation set.
        publish: called on rank 0 after every epoch with (history, best weights if they changed else None), before the
            checkpoint is written.
        settings: plain configuration, stored in the checkpoint for readers.
        requests, watchdog, status, curves: see `interruption`, `status` and `curves`.
        save_minutes, save_steps: time and steps between checkpoints within an epoch; 0 for none.
    """

    def __init__(self, *, model: nn.Module, optimizer: torch.optim.Optimizer, train: TrainStage, valid: ValidStage,
                 test: tp.Optional[TestStage], averages: tp.Mapping[str, ModelEMA],
                 epoch_averages: tp.Sequence[ModelEMA], selection: Selection, always_newest: bool, svd: SvdSettings,
                 group: Group, folder: Path, epochs: int, test_every: int, test_best: bool,
                 save_every: tp.Optional[int],
                 publish: tp.Callable[[tp.Sequence[EpochRecord], tp.Optional[State]], None],
                 settings: tp.Mapping[str, tp.Any], requests: Requests, watchdog: Watchdog, status: StatusFile,
                 curves: Curves, save_minutes: float, save_steps: int):
        self.model = model
        self.train = train
        self.valid = valid
        self.test = test
        self.averages = averages
        self.epoch_averages = epoch_averages
        self.selection = selection
        self.always_newest = always_newest
        self.svd = svd
        self.group = group
        self.folder = folder
        self.epochs = epochs
        self.test_every = test_every
        self.test_best = test_best
        self.save_every = save_every
        self.publish = publish
        self.settings = dict(settings)
        self.requests = requests
        self.watchdog = watchdog
        self.status = status
        self.curves = curves
        self.save_seconds = 60 * save_minutes
        self.save_steps = save_steps
        self.checkpoints = Checkpoints(folder)
        self.saved = time.monotonic()
        self.history: tp.List[EpochRecord] = []
        self.best_state: tp.Optional[State] = None
        self.position = Position()

        self.registry = StateRegistry()
        self.registry.add("state", model.state_dict, lambda state: load_weights(model, state))
        self.registry.add_object("optimizer", optimizer)
        self.registry.add("history", lambda: [record.to_history() for record in self.history], self._set_history)
        self.registry.add("best_state", lambda: self.best_state, self._set_best)
        for name, average in averages.items():
            self.registry.add_object(name, average)
        self.registry.add("args", lambda: self.settings, lambda _: None)

    def _set_history(self, entries: tp.Sequence[tp.Mapping[str, tp.Any]]) -> None:
        self.history[:] = [EpochRecord.from_history(entry) for entry in entries]

    def _set_best(self, state: tp.Optional[State]) -> None:
        own, given = self.model.state_dict(), state or {}
        faults = weights.differences({key: own[key] for key in own if key in given},
                                     {key: given[key] for key in given if key in own})
        if faults:
            raise ValueError(f"of its parameters {faults}")
        self.best_state = state

    def restore(self) -> bool:
        """Continue from this run's own newest checkpoint that can be read, if it has one."""
        found = self._newest()
        if found is None:
            return False
        package, path = found
        different = different_settings({**self.settings, "epochs": None}, {**package.get("args", {}), "epochs": None})
        if different and not package[NOTES]:
            raise PackageError(f"{path}: belongs to another experiment: {'; '.join(different)}. Put that file back where it "
                               f"came from; to start from its weights, set continue_from to its signature.")
        self.registry.restore(package, str(path))
        if package[NOTES]:
            for note in package[NOTES] + different:
                logger.warning("%s: %s", path, note)
        self.position = Position.restored(package, self.group)
        self._require_same(package, path)
        self._require_same_songs(package, path)
        if len(package.get("random_states", ())) == self.group.world_size:
            self.curves.load_state_dict(package.get("curves") or {})
        where = f"in epoch {len(self.history) + 1}, after step {self.position.step}" if self.position.step else \
            f"after epoch {len(self.history)}"
        logger.info("Continuing %s, from %s", where, path)
        for number, record in enumerate(self.history, start=1):
            self._log_epoch(number, record)
        return True

    def _newest(self) -> tp.Optional[tp.Tuple[tp.Dict[str, tp.Any], Path]]:
        """The newest checkpoint that the first rank can read: all take the same, or fail together."""
        found: tp.Optional[tp.Tuple[tp.Dict[str, tp.Any], Path]] = None
        error: tp.Optional[PackageError] = None
        try:
            found = self.checkpoints.read() if self.group.is_first else None
        except PackageError as caught:
            error = caught
        name, error = self.group.gather((found and found[1].name, error))[0]
        if error is None and name is not None and not self.group.is_first:
            try:
                found = read_checkpoint(self.folder / name), self.folder / name
            except PackageError as caught:
                error = caught
        error = next((each for each in self.group.gather(error) if each is not None), None)
        if error is not None:
            raise error
        return found

    def _require_same(self, package: tp.Mapping[str, tp.Any], path: Path) -> None:
        """All ranks have read the same file. Raises TrainingError where it was replaced in between."""
        position = package.get("position") or {}
        places = self.group.gather((len(package.get("history", ())), position.get("step"),
                                    sorted(position.get("candidates", ())), sorted(position.get("tested", ()))))
        if any(place != places[0] for place in places):
            raise TrainingError(f"{path}: the processes read different checkpoints ({places}): it was replaced in between, or "
                                f"the file system does not show all nodes the same. Start the run again.")

    def _require_same_songs(self, package: tp.Mapping[str, tp.Any], path: Path) -> None:
        """Raises TrainingError where an epoch would go on with other examples than it began with."""
        before, now = package.get("examples"), self.train.sampler.size
        if before in (None, now):
            return
        if self.position.step and self.position.trained is None:
            raise TrainingError(f"{path}: epoch {len(self.history) + 1} began with {before} training examples, now there are "
                                f"{now}: songs were added, removed or replaced in dset.musdb or dset.wav. Bring back those "
                                f"that were there; for the new ones start an experiment with continue_from=SIG.")
        logger.warning("%s: the run had %d training examples so far, from here on it has %d: songs were added, removed or "
                       "replaced", path, before, now)

    def best_epoch(self) -> int:
        """The epoch whose weights are the best ones, counted from 1; 0 where there is none yet."""
        return max((number for number, record in enumerate(self.history, start=1)
                    if self.always_newest or self.selection.value(record.valid) == record.best),
                   default=0)

    def start_from(self, checkpoint: Path, *, best: bool, optimizer: bool) -> None:
        """Begin with the weights of another run's checkpoint: its best or its last, and its optimiser if asked for.

        Raises:
            PackageError: where nothing in the checkpoint fits.
        """
        package = read_checkpoint(checkpoint)
        self._require_same(package, checkpoint)
        state = package.get("best_state" if best else "state")
        if not isinstance(state, dict):
            raise PackageError(f"{checkpoint}: holds no {'best' if best else 'last'} weights; no epoch of it has finished")
        own = self.model.state_dict()
        fitting = {key: value for key, value in state.items()
                   if key in own and weights.is_weight(value) and value.shape == own[key].shape}
        faults = weights.differences(own, state)
        if optimizer and fitting.keys() != own.keys():
            raise PackageError(f"{checkpoint}: belongs to a model of another shape, so the state of its optimizer cannot "
                               f"be taken over: of its parameters {faults}; set continue_opt=false")
        if not fitting:
            raise PackageError(f"{checkpoint}: holds none of this model's weights: of its parameters {faults}; it belongs "
                               f"to another model: set the same model and settings as that experiment")
        self.model.load_state_dict(fitting, strict=False)
        for what, keys in (("keep their initial values", own.keys() - fitting.keys()),
                           ("of it are left out", state.keys() - fitting.keys())):
            if keys:
                logger.warning("%s: %d weights %s: %s", checkpoint, len(keys), what, ", ".join(sorted(keys)[:5]))
        if faults:
            logger.warning("%s: of its parameters %s", checkpoint, faults)
        if optimizer:
            self.registry.restore_part("optimizer", package, str(checkpoint))
        logger.info("Starting from the %s weights of %s", "best" if best else "last", checkpoint)

    def run(self) -> None:
        """Train until all epochs are done. Does nothing where they are.

        Raises:
            Stopped: where a signal asked for it; the state is saved then.
        """
        try:
            with naming_shared_memory():
                self._run()
        except Stopped:
            raise
        except BaseException as error:
            self.status.write("failed", str(error) or type(error).__name__)
            raise
        finally:
            self.curves.close()
            # The one that is being written: the run is locked only until here.
            with contextlib.suppress(TrainingError), self.watchdog.watching():
                self.checkpoints.wait()
        self.status.write("done")

    def _run(self) -> None:
        if len(self.history) >= self.epochs:
            logger.info("All %d epochs are done.", self.epochs)
        else:
            self.status.begin(len(self.history), self.position.step)
            self.curves.begin(self.position.step, self.position.average, self.history)
            self._publish(len(self.history), False)      # what is on record of a session that ends before an epoch does
        with self.requests.listening(), self.watchdog.watching():
            self.status.progress(len(self.history), self.position.step, self.history)
            while len(self.history) < self.epochs:
                epoch = len(self.history)
                record, changed = self._epoch(epoch)
                self.history.append(record)
                self.curves.epoch(len(self.history), record)
                self.position = Position()
                self.status.progress(len(self.history), 0, self.history)
                self._publish(epoch, changed)
                keep = self.save_every and (epoch + 1) % self.save_every == 0 and epoch + 1 != self.epochs
                self._save(keep_as=f"checkpoint_{epoch + 1}.th" if keep else None)
                self._go_on()
            self._finish()

    def _epoch(self, epoch: int) -> tp.Tuple[EpochRecord, bool]:
        logger.info("-" * 70)
        position = self.position
        begin = time.monotonic() - position.seconds

        def after_step(done: int, average: Average) -> None:
            position.step, position.average, position.seconds = done, average, time.monotonic() - begin
            self.status.progress(epoch, done, self.history)
            self.curves.step(epoch, done, average)
            self._go_on(due=bool(self.save_steps) and done % self.save_steps == 0)
        if position.trained is None:
            train = self.train.run(epoch, start=position.step, average=position.average, between=after_step)
            for average in self.epoch_averages:
                average.update()
            position.trained, position.seconds = train, time.monotonic() - begin
        train, trained = position.trained, begin + position.seconds
        logger.info("Train Summary | Epoch %d | %s", epoch + 1, describe(train))

        candidates = position.candidates
        if "main" not in candidates:
            if self.valid.quantisation is None:
                candidates["main"] = self.valid.run(epoch, "main", between=self._go_on)
            else:                        # in between they are rounded
                with self._weights({}):
                    candidates["main"] = self.valid.run(epoch, "main", between=self._leave)
        for name, average in self.averages.items():
            if name not in candidates:
                self._go_on()
                with self._weights(average.state):
                    candidates[name] = self.valid.run(epoch, name, between=self._leave)
        chosen = self.selection.choose(candidates)
        value = self.selection.value(candidates[chosen])
        if not math.isfinite(value):
            raise TrainingError(f"after epoch {epoch + 1} the validation {self.selection.metric} is not finite for any of "
                                f"{', '.join(candidates)}: the model diverged, or a validation track is not finite. Lower "
                                f"optim.lr or set optim.clip_grad. The last checkpoint is untouched.")
        best = self.selection.best_so_far(self.history, value)
        changed = value == best or self.always_newest
        best_state = self.best_state
        if changed:
            best_state = copy_state(self.model.state_dict())
            if chosen != "main":
                best_state.update(copy_state(self.averages[chosen].state))
        penalty = exact_svd_penalty(self.model, self.svd) if self.svd.penalty else None
        validated = time.monotonic()
        seconds = {"train": trained - begin, "valid": validated - trained}

        is_last = epoch + 1 == self.epochs
        test = None
        if self.test is not None and (is_last or (epoch + 1) % self.test_every == 0):
            assert best_state is not None
            self._go_on()
            while test is None:      # once more after each checkpoint within it
                with self._weights(best_state if self.test_best else {}):
                    test = self.test.run(is_last, tested=position.tested, between=lambda: self._leave(saving=True))
            seconds["test"] = time.monotonic() - validated
        self.best_state = best_state
        record = EpochRecord(train=train, candidates=candidates, chosen=chosen, best=best, penalty=penalty, test=test,
                             seconds=seconds)
        self._log_epoch(epoch + 1, record, train=False)
        return record, changed

    @contextlib.contextmanager
    def _weights(self, state: State) -> tp.Iterator[None]:
        """The model has the weights in `state`. Where `_leave` ends the block, its own are saved once they are back."""
        try:
            with swapped(self.model, state):
                yield
        except _Leaving:
            self._go_on()

    def _leave(self, saving: bool = False) -> None:
        """Between two steps while the model has other weights, on all ranks together: leave where a stop is asked for, and
        with `saving` where a checkpoint is due, if it can go on from there."""
        self.watchdog.beat()
        stop, save = self.requests.agreed(saving and self._due())
        self.requests.save_wanted |= save
        if stop or saving and save:
            raise _Leaving()

    def _go_on(self, due: bool = False) -> None:
        """Between two steps, on all ranks together: save where it is due or asked for, and stop where that is asked for.

        The model must have its own weights, not those of an average.
        """
        self.watchdog.beat()
        stop, save = self.requests.agreed(due or self._due())
        if stop or save:
            self._save()
        if stop:
            self._publish(len(self.history), False)
            self._finish()
            self.status.write("stopped", self.requests.stop_signal)
            raise Stopped(self.requests.stop_signal)

    def _due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return bool(self.save_seconds) and time.monotonic() - self.saved >= self.save_seconds

    def _log_epoch(self, number: int, record: EpochRecord, train: bool = True) -> None:
        if train:
            logger.info("Train Summary | Epoch %d | %s", number, describe(record.train))
        logger.info("Valid Summary | Epoch %d | %s | Best %.4f | by %s", number, describe(record.valid), record.best,
                    record.chosen)
        if record.test:
            logger.info("Test Summary | Epoch %d | %s", number, " | ".join(
                f"{key} {value:.3f}" for key, value in record.test.items() if key.partition("_")[0] in TEST_KEYS))

    def _publish(self, epoch: int, best_changed: bool) -> None:
        if not self.group.is_first:
            return
        self.checkpoints.require_ours()
        try:
            self.publish(self.history, self.best_state if best_changed else None)
        except OSError as error:
            raise TrainingError(f"cannot write the records of epoch {epoch + 1} in {self.folder}: {error}. The last "
                                f"checkpoint is untouched; free some space and start the run again, it continues from "
                                f"there.") from error

    def _save(self, keep_as: tp.Optional[str] = None) -> None:
        """Write a checkpoint, in the background. All ranks take part: each has its own part of the position."""
        entries = self.position.entries(self.group)
        if self.group.is_first:
            self.curves.flush()
            self.checkpoints.save({**self.registry.collect(), "format": FORMAT, "curves": self.curves.state_dict(),
                                   "examples": self.train.sampler.size, **entries}, keep_as=keep_as)
        self.saved = time.monotonic()

    def _finish(self) -> None:
        """Until the last checkpoint is on disk, for all ranks."""
        self.checkpoints.wait()
        self.group.barrier()
