"""Learning-rate schedules, stepped once per epoch. By default the learning rate is constant."""

import dataclasses
import math
import typing as tp

import torch
from torch.optim import lr_scheduler

KINDS = ("none", "plateau", "cosine")
PLATEAU_STATE = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """Settings of the learning-rate schedule: section `schedule` of the configuration, where each is explained.
    `patience`, `cooldown` and `warmup` are in epochs. Values are checked in `demucs.config`."""
    kind: str
    factor: float
    patience: int
    cooldown: int
    warmup: int
    min_lr: float


class Schedule:
    """Base class of learning-rate schedules of an optimiser, which are registered state of a run. The learning rates at
    construction are the base values.

    To be registered after the optimiser, so that the learning rates it restores replace those in the optimiser's state.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer
        self.base = [group["lr"] for group in optimizer.param_groups]

    def begin(self) -> None:
        """Set the learning rates for the start of a training, whatever state the optimiser was loaded from."""
        for group, rate in zip(self.optimizer.param_groups, self.base):
            group["lr"] = rate

    def epoch_done(self, value: float) -> None:
        """Update the learning rates after an epoch with the validation result `value` (smaller is better)."""
        raise NotImplementedError

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        """State of the schedule for a checkpoint."""
        raise NotImplementedError

    def load_state_dict(self, state: tp.Mapping[str, tp.Any]) -> None:
        """Restore the state of a checkpoint."""
        raise NotImplementedError


class Cosine(Schedule):
    """Learning-rate schedule: linear warmup during `warmup` epochs, from base / (warmup + 1), then cosine annealing
    from the base value to `min_lr` in the last of `epochs` epochs.

    The learning rate is a function of the number of epochs done, so an extended training continues on the longer curve.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, epochs: int, warmup: int, min_lr: float):
        super().__init__(optimizer)
        self.epochs, self.warmup, self.min_lr = epochs, warmup, min_lr
        self.done = 0
        self.begin()

    def begin(self) -> None:
        """Set the learning rates for the epoch after those that are done."""
        for group, rate in zip(self.optimizer.param_groups, self.base):
            group["lr"] = self._rate(rate)

    def _rate(self, base: float) -> float:
        if self.done < self.warmup:
            return base * (self.done + 1) / (self.warmup + 1)
        place = min(1., (self.done - self.warmup) / max(1, self.epochs - 1 - self.warmup))
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * place)) / 2

    def epoch_done(self, value: float) -> None:
        """Count an epoch and set the learning rates of the next one; `value` is ignored."""
        self.done += 1
        self.begin()

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        return {"epochs": self.done}

    def load_state_dict(self, state: tp.Mapping[str, tp.Any]) -> None:
        self.done = state["epochs"]
        self.begin()


class Plateau(Schedule):
    """Learning-rate schedule: multiplication by `factor`, down to `min_lr`, after more than `patience` epochs without a
    better validation result. The next `cooldown` epochs are then not counted, as in Open-Unmix."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, factor: float, patience: int, cooldown: int, min_lr: float):
        super().__init__(optimizer)
        self.scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience, cooldown=cooldown,
                                                        min_lr=min_lr)

    def epoch_done(self, value: float) -> None:
        self.scheduler.step(value)

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        return {key: getattr(self.scheduler, key) for key in PLATEAU_STATE}

    def load_state_dict(self, state: tp.Mapping[str, tp.Any]) -> None:
        for key in PLATEAU_STATE:
            setattr(self.scheduler, key, state[key])


def build_schedule(settings: ScheduleSettings, optimizer: torch.optim.Optimizer, epochs: int) -> tp.Optional[Schedule]:
    """New learning-rate schedule of `optimizer` for a training of `epochs` epochs; None for a constant learning rate
    (`settings.kind` "none")."""
    if settings.kind == "plateau":
        return Plateau(optimizer, factor=settings.factor, patience=settings.patience, cooldown=settings.cooldown,
                       min_lr=settings.min_lr)
    if settings.kind == "cosine":
        return Cosine(optimizer, epochs=epochs, warmup=settings.warmup, min_lr=settings.min_lr)
    return None
