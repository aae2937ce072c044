"""Progress lines that read well in a log file: a few per pass, each with position, speed, time left and metrics."""

import logging
import time
import typing as tp

from ..tables import duration

Item = tp.TypeVar("Item")


class Progress(tp.Generic[Item]):
    """Iterate over `items`, logging `prints` times. Call `update` with the metrics to show with the next line. The items
    are those from number `first` on, of `total`."""

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
