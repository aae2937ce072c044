"""The training run: epochs of train, validate, select, sometimes test, and always save.

The solver knows stages and records, not waveforms. It can stop between any two epochs and go on in another process:
everything it needs is in the registry, and chance is keyed by epoch and step.
"""

import logging
import math
import time
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..errors import PackageError, TrainingError
from ..schema import EpochRecord, Metrics
from .best import Selection
from .distributed import Group
from .ema import ModelEMA, State, copy_state, swapped
from .stages import TrainStage, ValidStage, describe
from .state import (NOTES, StateRegistry, different_settings, random_states, read_checkpoint, set_random_states,
                    write_checkpoint)
from .svd import SvdSettings, exact_svd_penalty

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.th"


class Solver:
    """Trains `model` for `epochs` epochs in `folder`.

    Args:
        train, valid: the stages of every epoch.
        test: called with (epoch, is_last) every `test_every` epochs and after the last one; returns flat metrics. None:
            there is nothing to test on.
        averages: the weight averages by name; those over epochs are listed again in `epoch_averages`.
        selection: how the best weights are chosen. With `always_newest` every epoch's choice becomes the best, for
            training that includes the validation set.
        publish: called on rank 0 after every epoch with (history, best weights if they changed else None), before the
            checkpoint is written.
        settings: plain configuration, stored in the checkpoint for readers.
    """

    def __init__(self, *, model: nn.Module, optimizer: torch.optim.Optimizer, train: TrainStage, valid: ValidStage,
                 test: tp.Optional[tp.Callable[[int, bool], Metrics]], averages: tp.Mapping[str, ModelEMA],
                 epoch_averages: tp.Sequence[ModelEMA], selection: Selection, always_newest: bool, svd: SvdSettings,
                 group: Group, folder: Path, epochs: int, test_every: int, test_best: bool,
                 save_every: tp.Optional[int],
                 publish: tp.Callable[[tp.Sequence[EpochRecord], tp.Optional[State]], None],
                 settings: tp.Mapping[str, tp.Any]):
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
        self.history: tp.List[EpochRecord] = []
        self.best_state: tp.Optional[State] = None

        self.registry = StateRegistry()
        self.registry.add_object("state", _Weights(model))
        self.registry.add_object("optimizer", optimizer)
        self.registry.add("history", lambda: [record.to_history() for record in self.history], self._set_history)
        self.registry.add("best_state", lambda: self.best_state, self._set_best)
        for name, average in averages.items():
            self.registry.add_object(name, average)
        self.registry.add("args", lambda: self.settings, lambda _: None)

    def _set_history(self, entries: tp.Sequence[tp.Mapping[str, tp.Any]]) -> None:
        self.history[:] = [EpochRecord.from_history(entry) for entry in entries]

    def _set_best(self, state: tp.Optional[State]) -> None:
        self.best_state = state

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / CHECKPOINT

    def restore(self) -> bool:
        """Continue from this run's own checkpoint, if it has one."""
        if not self.checkpoint_file.exists():
            return False
        package = read_checkpoint(self.checkpoint_file)
        self.registry.restore(package, str(self.checkpoint_file))
        if package[NOTES]:
            for note in package[NOTES] + different_settings(self.settings, package["args"]):
                logger.warning("%s: %s", self.checkpoint_file, note)
        states = package.get("random_states", [])
        if self.group.rank < len(states):
            set_random_states(states[self.group.rank])
        logger.info("Continuing after epoch %d, from %s", len(self.history), self.checkpoint_file)
        for number, record in enumerate(self.history, start=1):
            self._log_epoch(number, record)
        return True

    def start_from(self, checkpoint: Path, *, best: bool, optimizer: bool) -> None:
        """Begin with the weights of another run's checkpoint: its best or its last, and its optimiser if asked for.

        Raises:
            PackageError: where nothing in the checkpoint fits.
        """
        package = read_checkpoint(checkpoint)
        state = package.get("best_state" if best else "state")
        if not isinstance(state, dict):
            raise PackageError(f"{checkpoint}: holds no {'best' if best else 'last'} weights; no epoch of it has finished")
        own = self.model.state_dict()
        fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
        if not fitting:
            raise PackageError(f"{checkpoint}: holds none of this model's weights; it belongs to another model")
        self.model.load_state_dict(fitting, strict=False)
        for what, keys in (("keep their initial values", own.keys() - fitting.keys()),
                           ("of it are left out", state.keys() - fitting.keys())):
            if keys:
                logger.warning("%s: %d weights %s: %s", checkpoint, len(keys), what, ", ".join(sorted(keys)[:5]))
        if optimizer:
            self.registry.restore_part("optimizer", package, str(checkpoint))
        logger.info("Starting from the %s weights of %s", "best" if best else "last", checkpoint)

    def run(self) -> None:
        """Train until all epochs are done. Does nothing where they are."""
        if len(self.history) >= self.epochs:
            logger.info("All %d epochs are done.", self.epochs)
        for epoch in range(len(self.history), self.epochs):
            record, changed = self._epoch(epoch)
            self.history.append(record)
            self._save(epoch, changed)

    def _epoch(self, epoch: int) -> tp.Tuple[EpochRecord, bool]:
        logger.info("-" * 70)
        begin = time.monotonic()
        train = self.train.run(epoch)
        for average in self.epoch_averages:
            average.update()
        logger.info("Train Summary | Epoch %d | %s", epoch + 1, describe(train))
        trained = time.monotonic()

        candidates = {"main": self.valid.run(epoch, "main")}
        for name, average in self.averages.items():
            with swapped(self.model, average.state):
                candidates[name] = self.valid.run(epoch, name)
        chosen = self.selection.choose(candidates)
        value = self.selection.value(candidates[chosen])
        if not math.isfinite(value):
            raise TrainingError(f"after epoch {epoch + 1} the validation {self.selection.metric} is not finite for any of "
                                f"{', '.join(candidates)}: the model diverged, or a validation track is not finite. Lower "
                                f"optim.lr or set optim.clip_grad. The last checkpoint is untouched.")
        best = self.selection.best_so_far(self.history, value)
        changed = value == best or self.always_newest
        if changed:
            self.best_state = copy_state(self.model.state_dict())
            if chosen != "main":
                self.best_state.update(copy_state(self.averages[chosen].state))
        penalty = exact_svd_penalty(self.model, self.svd) if self.svd.penalty else None
        validated = time.monotonic()
        seconds = {"train": trained - begin, "valid": validated - trained}

        is_last = epoch + 1 == self.epochs
        test = None
        if self.test is not None and (is_last or (epoch + 1) % self.test_every == 0):
            assert self.best_state is not None
            with swapped(self.model, self.best_state if self.test_best else {}):
                test = self.test(epoch, is_last)
            seconds["test"] = time.monotonic() - validated
        record = EpochRecord(train=train, candidates=candidates, chosen=chosen, best=best, penalty=penalty, test=test,
                             seconds=seconds)
        self._log_epoch(epoch + 1, record, train=False)
        return record, changed

    def _log_epoch(self, number: int, record: EpochRecord, train: bool = True) -> None:
        if train:
            logger.info("Train Summary | Epoch %d | %s", number, describe(record.train))
        logger.info("Valid Summary | Epoch %d | %s | Best %.4f | by %s", number, describe(record.valid), record.best,
                    record.chosen)
        if record.test:
            logger.info("Test Summary | Epoch %d | %s", number, " | ".join(
                f"{key} {value:.3f}" for key, value in record.test.items() if key.partition("_")[0] in ("nsdr", "sdr")))

    def _save(self, epoch: int, best_changed: bool) -> None:
        states = self.group.gather(random_states())
        if self.group.is_first:
            package = {**self.registry.collect(), "random_states": states}
            try:
                self.publish(self.history, self.best_state if best_changed else None)
            except OSError as error:
                raise TrainingError(f"cannot write the records of epoch {epoch + 1} in {self.folder}: {error}. The "
                                    f"previous checkpoint is untouched; free some space and start the run again, it "
                                    f"continues from there.") from error
            write_checkpoint(package, self.checkpoint_file)
            if self.save_every and (epoch + 1) % self.save_every == 0 and epoch + 1 != self.epochs:
                write_checkpoint(package, self.folder / f"checkpoint_{epoch + 1}.th")
        self.group.barrier()


class _Weights:
    """The model in the registry: its tensors are copied to the CPU, since a checkpoint must open anywhere."""

    def __init__(self, model: nn.Module):
        self.model = model

    def state_dict(self) -> State:
        return copy_state(self.model.state_dict())

    def load_state_dict(self, state: State) -> None:
        self.model.load_state_dict(state)
