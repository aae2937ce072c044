"""Progress lines for log files: a few per pass, each with position, speed, time left and metrics."""

import logging
import time
import typing as tp
from pathlib import Path

from ..schema import EpochRecord, Metrics
from ..tables import duration, number

Item = tp.TypeVar("Item")
TEST_KEYS = ("nsdr", "sdr")      # metrics of the test summary


class Progress(tp.Generic[Item]):
    """Iterable over `items` that logs a line about `prints` times in a complete pass: `name`, number of items done,
    speed, time left and metrics. With `prints` 0 it logs nothing.

    `total` is the number of items of the pass, `first` that of items done before; `items` are the remaining ones.
    """

    def __init__(self, logger: logging.Logger, items: tp.Iterable[Item], *, name: str, total: int, prints: int,
                 first: int = 0):
        self.logger = logger
        self.items = items
        self.name = name
        self.total = total
        self.prints = prints
        self.first = first
        self.metrics = ""

    def update(self, metrics: str) -> None:
        """Set the text of the metrics for the next line."""
        self.metrics = metrics

    def __iter__(self) -> tp.Iterator[Item]:
        begin = time.monotonic()
        every = max(1, self.total // self.prints) if self.prints else self.total + 1
        for done, item in enumerate(self.items, start=self.first):
            if done > self.first and done % every == 0:
                self._log(done, time.monotonic() - begin)
            yield item

    def _log(self, done: int, elapsed: float) -> None:
        speed = (done - self.first) / elapsed
        rate = f"{speed:.2f} it/s" if speed >= 1 else f"{1 / speed:.2f} s/it"
        left = duration(round((self.total - done) / speed), fine=True)
        self.logger.info("%s", " | ".join(filter(None, [
            self.name, f"{done}/{self.total}", rate, f"{left} left", self.metrics])))


def describe(metrics: Metrics) -> str:
    """The main metrics, those that `metrics` has, as text: "Loss 0.1234 | Nsdr 5.678". "Ms" is the size of a quantised
    model in MiB, "Grad" the norm of the gradient, "Skipped" the share of steps that the loss scale skipped."""
    digits = {"loss": 4, "reco": 4, "nsdr": 3, "ms": 2, "grad": 4, "penalty": 2, "skipped": 3}
    return " | ".join(f"{key.capitalize()} {number(metrics[key], count)}" for key, count in digits.items() if key in metrics)


def log_continuing(logger: logging.Logger, history: tp.Sequence[EpochRecord], step: int, path: Path) -> None:
    """Log that a run continues from the checkpoint file `path`, after `step` steps of the epoch that follows those in
    `history`, and the summaries of the epochs in `history`."""
    logger.info("Continuing %s, from %s",
                f"in epoch {len(history) + 1}, after step {step}" if step else f"after epoch {len(history)}", path)
    for epoch, record in enumerate(history, start=1):
        log_epoch(logger, epoch, record)


def log_epoch(logger: logging.Logger, epoch: int, record: EpochRecord, train: bool = True) -> None:
    """Log the summaries of epoch number `epoch` (counted from 1): training (unless `train` is False), validation, and
    test, if the epoch has one."""
    if train:
        logger.info("Train Summary | Epoch %d | %s", epoch, describe(record.train))
    logger.info("Valid Summary | Epoch %d | %s | Best %.4f | by %s", epoch, describe(record.valid), record.best,
                record.chosen)
    if record.test:
        logger.info("Test Summary | Epoch %d | %s", epoch, " | ".join(
            f"{key} {number(value, 3)}" for key, value in record.test.items() if key.partition("_")[0] in TEST_KEYS))
