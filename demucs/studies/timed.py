"""Trainings for a given time.

The time of a training is that of its passes over the training set: waiting for batches, forward and backward passes,
and optimiser steps. Building the model, reading datasets for the first time, validation, tests and writing of
checkpoints are not counted. The limit is checked between two steps, so a training exceeds it by less than a step. The
training itself is that of `dora run`: only the request to stop comes from the clock instead of a signal.

The weights at the end are scored: the first moving average over batches if there is one (`ema.batch`), otherwise the
last ones. Nothing is selected on the validation set, which would favour arms that are validated more often.
"""

import contextlib
import logging
import os
import platform
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf

from ..building import build_solver
from ..config import Config
from ..config import read as read_config
from ..errors import ConfigError, TrainingError
from ..packages import package
from ..runs.layout import NEWEST, PREVIOUS
from ..runs.lock import locked
from ..tables import counted
from ..train import main as experiments
from ..training.distributed import Group, join_group
from ..training.interruption import Requests, Stopped
from ..training.schedules import ENDING
from ..training.solver import Solver
from ..training.workers import ending_workers

logger = logging.getLogger(__name__)

MAIN = "main"
# A training that only its time ends. Checkpoints are written between epochs and when a signal stops it.
ENDLESS = ("epochs=1000000", "test.every=1000000", "checkpoint.minutes=0", "checkpoint.steps=0", "early_stopping=null")
SIGNAL = "SIGUSR2"       # with which a scheduler announces the end of a job's time


class TimeLimit(Requests):
    """Requests that include one to stop after `seconds` of training, as counted by `spent`."""

    def __init__(self, group: Group, seconds: float):
        super().__init__(group)
        self.seconds = seconds
        self.spent: tp.Callable[[], float] = lambda: 0.

    @property
    def reached(self) -> bool:
        return self.spent() >= self.seconds

    def asking(self, due: bool = False) -> tp.List[float]:
        if self.reached:
            self.stop_signal = self.stop_signal or SIGNAL
        return super().asking(due)

    def answered(self, sums: tp.Sequence[float]) -> tp.Tuple[bool, bool]:
        # On a CPU the step is over by now, and its time is known. On a GPU the next one may be queued.
        return super().answered([*self.asking()[:-1], sums[-1]] if self.group.device.type == "cpu" else sums)


class Interrupted(Exception):
    """The training was asked to stop by a signal before its time was over; it has saved its state."""


@dataclass(frozen=True)
class Trained:
    """Result of a timed training: its model has the weights that are to be scored, and is in evaluation mode."""
    model: torch.nn.Module
    seconds: float
    steps: int
    epochs: int
    examples: int
    weights: str
    loss: float
    machine: str


def compose(overrides: tp.Sequence[str], seed: int) -> Config:
    """Configuration of a timed training.

    Raises:
        ConfigError: for an invalid value, or a setting that does not fit a limit in seconds.
        SystemExit: for an unknown key.
    """
    xp = experiments.get_xp([*ENDLESS, *overrides, f"seed={seed}"])
    config = read_config(tp.cast(tp.Dict[str, tp.Any], OmegaConf.to_container(xp.cfg, resolve=True)))
    if config.schedule.kind in ENDING:
        raise ConfigError(f"schedule.kind={config.schedule.kind} ends with the number of epochs, and the trainings of a "
                          f"study end with their time; use none or plateau")
    if config.epochs != 1000000 or config.early_stopping:
        raise ConfigError("the trainings of a study end with their time: leave out epochs and early_stopping")
    if config.quant.diffq or config.quant.qat:
        raise ConfigError("the trainings of a study are not quantised: leave out quant.diffq and quant.qat")
    return config


def seconds_of(solver: Solver) -> float:
    """Seconds that a training has spent in its passes over the training set, in all sessions."""
    return sum((record.seconds or {}).get("train", 0.) for record in solver.history) + solver.position.seconds


def train(config: Config, folder: Path, *, seconds: float, name: str, argv: tp.Sequence[str]) -> Trained:
    """Train for `seconds`, with the run in `folder`, or go on with what is there.

    Raises:
        Interrupted: if a signal asked for a stop; the state is saved.
        DemucsError: as a training.
    """
    group = join_group()
    if group.world_size > 1:
        raise ConfigError(f"WORLD_SIZE={group.world_size}: a study trains in one process; start it without srun and "
                          f"torchrun")
    limit = TimeLimit(group, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        solver = build_solver(config, folder, group, signature=name, name=name, argv=argv, requests=limit)
        limit.spent = lambda: seconds_of(solver)
        if not limit.reached:
            try:
                with ending_workers():
                    solver.run()
            except Stopped as stopped:
                if not limit.reached:
                    raise Interrupted(stopped.reason) from None
    return _result(solver, _machine(group))


def _machine(group: Group) -> str:
    """Processor, cores, threads, and GPU of this process."""
    processor = platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2] for line in file if line.startswith("model name")]
        processor = " ".join(names[0].split()) if names else processor
    gpu = f", {group.device_name}" if group.device.type == "cuda" else ""
    return f"{processor}, {counted(os.cpu_count() or 1, 'core')}, {counted(torch.get_num_threads(), 'thread')}{gpu}"


def _result(solver: Solver, machine: str) -> Trained:
    position, history = solver.position, solver.history
    steps = len(history) * solver.train.sampler.steps + position.step
    if not steps:
        raise TrainingError(f"{solver.folder}: no step was made; give the training more seconds")
    weights = next((name for name in solver.averages if name.startswith("ema_batch")), MAIN)
    if weights != MAIN:
        solver.model.load_state_dict(solver.averages[weights].state, strict=False)
    loss = position.average.here()["loss"] if position.step else history[-1].train["loss"]
    return Trained(solver.model.eval(), seconds_of(solver), steps, len(history), solver.train.sampler.size, weights,
                   loss, machine)


def save_model(trained: Trained, path: Path, *, name: str, argv: tp.Sequence[str]) -> None:
    """Export the model of a timed training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    card = package.new_card(trained.model, signature=name, epochs_done=trained.epochs, epochs=trained.epochs, valid={},
                            argv=argv)
    package.save(trained.model, path, card=card)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training whose model is exported; its records stay."""
    for checkpoint in (NEWEST, PREVIOUS):
        (folder / checkpoint).unlink(missing_ok=True)
