"""The training loop: each epoch trains, validates, selects the best weights, sometimes tests, and saves a checkpoint.

The solver handles stages and records, not waveforms. It can stop after any step and continue in another process with
bit-identical results: the whole state is in the registry, the position gives the progress within the epoch, and random
draws are keyed by epoch and step. A run may continue with another number of processes; then the batches are the same,
but sums are rounded differently.
"""

import contextlib
import dataclasses
import logging
import time
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..errors import TrainingError
from ..runs.status import StatusFile
from ..schema import EpochRecord, Metrics
from . import restoring
from .best import Selection, enough
from .curves import Curves
from .distributed import Group
from .ema import ModelEMA, State, copy_state, swapped
from .interruption import Requests, Stopped, Watchdog
from .position import Position
from .progress import describe, log_continuing, log_epoch
from .reports import Average
from .saving import Plan, Saving
from .schedules import Schedule
from .stages import TrainStage
from .state import FORMAT, StateRegistry, load_weights
from .svd import SvdSettings, exact_svd_penalty
from .testing import TestStage
from .validation import ValidStage
from .workers import naming_shared_memory

logger = logging.getLogger(__name__)


class Solver:
    """The training loop of one run: trains `model` for the epochs of `plan`, and writes checkpoints and records to
    `folder`.

    Args:
        model: with its initial weights, on the device of `group`.
        optimizer: of its parameters.
        train, valid: the stages of every epoch.
        test: the stage of some epochs; None without test songs.
        averages: moving averages of the weights by name.
        epoch_averages: those of them that are updated once per epoch.
        schedule: of the learning rate; None if it is constant.
        selection: comparison of candidate weights.
        always_newest: take the weights of every epoch as the best ones, for training on the validation set.
        svd: settings of the penalty, whose exact value each epoch records.
        group: the ranks.
        folder: of the run.
        plan: number of epochs, and intervals of tests and checkpoints.
        publish: called on rank 0 after every epoch, before its checkpoint, and when the run stops, with (history, best
            weights if they have changed, else None).
        settings: plain configuration, stored in the checkpoint for readers.
        requests, watchdog, status, curves: see `interruption`, `runs.status` and `curves`.
    """

    def __init__(self, *, model: nn.Module, optimizer: torch.optim.Optimizer, train: TrainStage, valid: ValidStage,
                 test: tp.Optional[TestStage], averages: tp.Mapping[str, ModelEMA],
                 epoch_averages: tp.Sequence[ModelEMA], schedule: tp.Optional[Schedule], selection: Selection,
                 always_newest: bool, svd: SvdSettings, group: Group, folder: Path, plan: Plan,
                 publish: tp.Callable[[tp.Sequence[EpochRecord], tp.Optional[State]], None],
                 settings: tp.Mapping[str, tp.Any], requests: Requests, watchdog: Watchdog, status: StatusFile,
                 curves: Curves):
        self.model, self.train, self.valid, self.test = model, train, valid, test
        self.averages, self.epoch_averages, self.schedule = averages, epoch_averages, schedule
        self.selection, self.always_newest, self.svd = selection, always_newest, svd
        self.group, self.folder, self.plan = group, folder, plan
        self.publish, self.settings = publish, dict(settings)
        self.requests, self.watchdog, self.status, self.curves = requests, watchdog, status, curves
        self.history: tp.List[EpochRecord] = []
        self.best_state: tp.Optional[State] = None
        self.position = Position()

        self.registry = StateRegistry()
        self.registry.add("state", model.state_dict, lambda state: load_weights(model, state))
        self.registry.add("history", lambda: [record.to_history() for record in self.history], self._set_history)
        self.registry.add("best_state", lambda: self.best_state, self._set_best)
        self.registry.add("args", lambda: self.settings, lambda _: None)
        parts = {"optimizer": optimizer, "schedule": schedule, "loss_scale": train.precision.loss_scale, **averages}
        for name, part in parts.items():
            if part is not None:
                self.registry.add_object(name, part)
        self.saving = Saving(folder, plan, group=group, requests=requests, watchdog=watchdog, content=self._content,
                             entries=lambda: self.position.entries(group), records=self._write_records,
                             epochs_done=lambda: len(self.history),
                             stopped=lambda reason: status.write("stopped", reason))

    def _set_history(self, entries: tp.Sequence[tp.Mapping[str, tp.Any]]) -> None:
        self.history[:] = map(EpochRecord.from_history, entries)

    def _set_best(self, state: tp.Optional[State]) -> None:
        restoring.require_shapes(state or {}, self.model)
        self.best_state = state

    def restore(self) -> bool:
        """Restore the newest readable checkpoint of this run: all registered state, and the position within the epoch.
        Returns False, without changing anything, if there is none. A collective call.

        Raises:
            PackageError: if no checkpoint can be read, or it does not fit this run.
            TrainingError: if the ranks read different checkpoints, or the number of examples changed within an epoch.
        """
        found = restoring.newest(self.saving.checkpoints, self.group)
        if found is None:
            return False
        package, path = found
        notes = restoring.require_own(package, path, self.settings)
        self.registry.restore(package, str(path))
        for note in notes:
            logger.warning("%s: %s", path, note)
        self.position = Position.restored(package, self.group)
        restoring.require_same(package, path, self.group)
        restoring.require_same_examples(package, path, examples=self.train.sampler.size, epoch=len(self.history) + 1,
                                        within_epoch=bool(self.position.step and self.position.trained is None))
        if len(package.get("random_states", ())) == self.group.world_size:
            self.curves.load_state_dict(package.get("curves") or {})
        log_continuing(logger, self.history, self.position.step, path)
        return True

    def best_epoch(self) -> int:
        """Number of the epoch whose weights are the best ones, counted from 1; 0 if there is none yet."""
        return len(self.history) if self.always_newest else self.selection.best_epoch(self.history)

    def _finished(self, history: tp.Sequence[EpochRecord]) -> bool:
        """Whether all epochs are done, or the patience for early stopping is exhausted."""
        return enough(history, self.selection, epochs=self.plan.epochs, patience=self.plan.patience)

    def run(self) -> None:
        """Train until all epochs are done, or early stopping ends the run. A finished run returns at once. A collective
        call.

        Raises:
            Stopped: if a signal asked for it; the state is saved then.
            TrainingError: if a value is not finite, or a checkpoint or record cannot be written.
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
            # A checkpoint may still be being written, and the run is locked only until this method returns.
            with contextlib.suppress(TrainingError), self.watchdog.watching():
                self.saving.checkpoints.wait()
        self.status.write("done")

    def _run(self) -> None:
        if self._finished(self.history):
            logger.info("All %d epochs are done.", len(self.history))
            self.curves.draw(self.history)
        else:
            self.status.begin(len(self.history), self.position.step)
            self.curves.begin(self.position.step, self.position.average, self.history)
            self.saving.publish(len(self.history) + 1)      # a record of this session, even if no epoch of it ends
        with self.requests.listening(), self.watchdog.watching():
            self.status.progress(len(self.history), self.position.step, self.history)
            while not self._finished(self.history):
                self._epoch(len(self.history))
                self.saving.go_on()
            self.saving.finish()

    def _epoch(self, epoch: int) -> None:
        """One epoch, or the rest of it: train, validate the candidates, select the best, test, record."""
        logger.info("-" * 70)
        position, begin = self.position, time.monotonic() - self.position.seconds
        train = self._train(epoch, begin)
        trained = begin + position.seconds
        candidates = self._validate(epoch)
        chosen, best, best_state = self._choose(epoch, candidates)
        penalty = exact_svd_penalty(self.model, self.svd, self.group) if self.svd.penalty else None
        validated = time.monotonic()
        seconds = {"train": trained - begin, "valid": validated - trained}
        record = EpochRecord(train, candidates, chosen, best, penalty, None, seconds, self.model.combination())
        last = self._finished([*self.history, record])
        if self.test is not None and (last or (epoch + 1) % self.plan.test_every == 0):
            test = self._test(best_state if self.plan.test_best else {}, last)
            record = dataclasses.replace(record, test=test, seconds={**seconds, "test": time.monotonic() - validated})
        log_epoch(logger, epoch + 1, record, train=False)
        self._record(record, best_state)

    def _train(self, epoch: int, begin: float) -> Metrics:
        position = self.position

        def asking(done: int) -> tp.Sequence[float]:
            position.seconds = time.monotonic() - begin
            return self.saving.asking(due=bool(self.plan.save_steps) and done % self.plan.save_steps == 0)

        def after_step(done: int, average: Average, answers: tp.Sequence[float]) -> None:
            position.step, position.average, position.seconds = done, average, time.monotonic() - begin
            self.status.progress(epoch, done, self.history)
            self.curves.step(epoch, done, average)
            self.saving.go_on(answers=answers)
        if position.trained is None:
            train = self.train.run(epoch, start=position.step, average=position.average, between=after_step,
                                   asking=asking)
            for average in self.epoch_averages:
                average.update()
            position.trained, position.seconds = train, time.monotonic() - begin
        logger.info("Train Summary | Epoch %d | %s", epoch + 1, describe(position.trained))
        return position.trained

    def _validate(self, epoch: int) -> tp.Dict[str, Metrics]:
        """Validation metrics of the model's own weights ("main") and of every moving average."""
        candidates = self.position.candidates
        states = {name: average.state for name, average in self.averages.items()}
        for name, state in {"main": {}, **states}.items():
            if name in candidates:
                continue
            if name != "main":
                self.saving.go_on()
            own = name == "main" and self.valid.quantisation is None      # the model has its own weights throughout
            with contextlib.nullcontext() if own else swapped(self.model, state):
                metrics = self.valid.run(epoch, name, leave=self.saving.in_between if own else self.saving.asked_to_stop)
            if metrics is None:
                self.saving.go_on()          # raises Stopped
            else:
                candidates[name] = metrics
        return candidates

    def _choose(self, epoch: int, candidates: tp.Mapping[str, Metrics]) -> tp.Tuple[str, float, tp.Optional[State]]:
        """(name of the best candidate, best value so far, best weights so far). Raises TrainingError if no value is
        finite."""
        chosen = self.selection.choose(candidates)
        value = self.selection.value(candidates[chosen])
        self.selection.require_finite(value, candidates, epoch)
        best = self.selection.best_so_far(self.history, value)
        if value != best and not self.always_newest:
            return chosen, best, self.best_state
        state = copy_state(self.model.state_dict())
        if chosen != "main":
            state.update(copy_state(self.averages[chosen].state))
        return chosen, best, state

    def _test(self, state: tp.Optional[State], last: bool) -> Metrics:
        assert self.test is not None and state is not None
        self.saving.go_on()
        while True:      # repeated after each checkpoint within the test; songs tested before are skipped
            with swapped(self.model, state):
                test = self.test.run(last, tested=self.position.tested, leave=self.saving.asked_to_save_or_stop)
            if test is not None:
                return test
            self.saving.go_on()

    def _record(self, record: EpochRecord, best_state: tp.Optional[State]) -> None:
        """End an epoch: write its record and a checkpoint."""
        changed, self.best_state = best_state is not self.best_state, best_state
        self.history.append(record)
        number = len(self.history)
        if self.schedule is not None:
            self.schedule.epoch_done(self.selection.loss(record.valid))
        self.curves.epoch(number, record)
        self.position = Position()
        self.status.progress(number, 0, self.history)
        self.saving.publish(number, changed)
        keep = self.plan.save_every and number % self.plan.save_every == 0 and number != self.plan.epochs
        self.saving.save(keep_as=f"checkpoint_{number}.th" if keep else None)

    def _write_records(self, best_changed: bool) -> None:
        self.publish(self.history, self.best_state if best_changed else None)

    def _content(self) -> tp.Dict[str, tp.Any]:
        """The entries of a checkpoint that are the same on all ranks."""
        self.curves.flush()
        return {**self.registry.collect(), "format": FORMAT, "curves": self.curves.state_dict(),
                "examples": self.train.sampler.size}
