"""Learning-rate schedules, stepped once per epoch. By default the learning rate is constant."""

import dataclasses
import math
import typing as tp

import torch
from torch.optim import lr_scheduler

KINDS = ("none", "plateau", "cosine", "cosine_restarts")
ENDING = ("cosine", "cosine_restarts")      # with the number of epochs
PLATEAU_STATE = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """Settings of the learning-rate schedule: section `schedule` of the configuration, where each is explained.
    `patience`, `cooldown`, `warmup` and `restarts` are in epochs. Values are checked in `demucs.config`."""
    kind: str
    factor: float
    patience: int
    cooldown: int
    warmup: int
    min_lr: float
    restarts: tp.List[int] = dataclasses.field(default_factory=list)


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


class CosineRestarts(Cosine):
    """Learning-rate schedule: cosine annealing with warm restarts (Loshchilov and Hutter, ICLR 2017). A cycle begins at
    the start and after each number of epochs in `restarts`, and the last one ends with the training. In epoch e of the
    T epochs of cycle c, both counted from 0, the rate is min_lr + (base factor^c - min_lr) (1 + cos(pi e / T)) / 2. So
    each cycle reaches `min_lr` with its last step, and no epoch has that rate, unlike the last one of `Cosine`.

    Restarts after the last epoch have no effect until the training is extended: then it continues with that restart.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, epochs: int, restarts: tp.Sequence[int], factor: float,
                 min_lr: float):
        self.starts = [0, *(epoch for epoch in restarts if epoch < epochs)]
        self.factor = factor
        super().__init__(optimizer, epochs=epochs, warmup=0, min_lr=min_lr)

    def _rate(self, base: float) -> float:
        cycle = max(place for place, start in enumerate(self.starts) if start <= self.done)
        begin, end = (*self.starts, self.epochs)[cycle:cycle + 2]
        peak = max(base * self.factor ** cycle, self.min_lr)
        place = min(1., (self.done - begin) / (end - begin))
        return self.min_lr + (peak - self.min_lr) * (1 + math.cos(math.pi * place)) / 2


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
    if settings.kind == "cosine_restarts":
        return CosineRestarts(optimizer, epochs=epochs, restarts=settings.restarts, factor=settings.factor,
                              min_lr=settings.min_lr)
    return None
