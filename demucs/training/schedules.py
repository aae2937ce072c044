"""Learning-rate schedules and early stopping, both off by default."""

import dataclasses
import typing as tp

import torch
from torch.optim import lr_scheduler

from ..errors import ConfigError, did_you_mean

KINDS = ("none", "plateau", "cosine")


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """Section `schedule` of the configuration; the rate changes between epochs."""
    kind: str
    factor: float
    patience: int
    cooldown: int
    warmup: int
    min_lr: float


class Schedule:
    """A schedule of torch over epochs, as registered state of a run."""

    def __init__(self, scheduler: lr_scheduler.LRScheduler):
        self.scheduler = scheduler

    def epoch_done(self, value: float) -> None:
        """After an epoch whose validation gave `value` (smaller is better)."""
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(value)
        else:
            self.scheduler.step()

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: tp.Dict[str, tp.Any]) -> None:
        self.scheduler.load_state_dict(state)


def build_schedule(settings: ScheduleSettings, optimizer: torch.optim.Optimizer, epochs: int) -> tp.Optional[Schedule]:
    """The schedule of an optimiser that trains for `epochs` epochs; None for a constant rate.

    "plateau" multiplies the rate by `factor` after `patience` epochs without a better validation, and then waits for
    `cooldown` epochs (Open-Unmix). "cosine" raises it linearly over `warmup` epochs and lowers it along a half cosine to
    `min_lr` in the last one.

    Raises:
        ConfigError: for another kind.
    """
    if settings.kind not in KINDS:
        raise ConfigError(f"schedule.kind={settings.kind!r} is unknown; use one of {', '.join(KINDS)}."
                          f"{did_you_mean(settings.kind, KINDS)}")
    if settings.kind == "none":
        return None
    if settings.kind == "plateau":
        return Schedule(lr_scheduler.ReduceLROnPlateau(optimizer, factor=settings.factor, patience=settings.patience,
                                                       cooldown=settings.cooldown, min_lr=settings.min_lr))
    if settings.warmup >= epochs:
        raise ConfigError(f"schedule.warmup={settings.warmup} leaves none of the {epochs} epochs; give a smaller number")
    decay = lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs - 1 - settings.warmup), eta_min=settings.min_lr)
    if not settings.warmup:
        return Schedule(decay)
    rise = lr_scheduler.LinearLR(optimizer, 1 / (settings.warmup + 1), total_iters=settings.warmup)
    return Schedule(lr_scheduler.SequentialLR(optimizer, [rise, decay], milestones=[settings.warmup]))
