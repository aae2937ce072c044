"""Progress of a download: a bar on a terminal, lines in a log file."""

import contextlib
import datetime
import logging
import sys
import time
import typing as tp

import tqdm

logger = logging.getLogger(__name__)

OFTEN = 60.       # seconds after which a slow download logs a line, even without another tenth
SLOW = 10.        # seconds after which lines have the speed and the remaining time

Report = tp.Callable[[int, tp.Optional[int]], None]      # of (bytes so far, bytes in total or None)


@contextlib.contextmanager
def meter(name: str, begin: str) -> tp.Iterator[Report]:
    """Context with a function to call as bytes arrive: it draws a bar if stderr is a terminal. Otherwise the line
    `begin` is logged, then one at every tenth, and at every minute with another percent."""
    if sys.stderr.isatty():
        with tqdm.tqdm(desc=name, unit="B", unit_scale=True, dynamic_ncols=True) as bar:
            def draw(have: int, total: tp.Optional[int]) -> None:
                bar.total, bar.n = total, have
                bar.update(0)
            yield draw
            bar.refresh()
        return
    logger.info("%s", begin)
    lines = Lines(name)
    yield lines.report


class Lines:
    """Log lines of one download."""

    def __init__(self, name: str, clock: tp.Callable[[], float] = time.monotonic):
        self._name = name
        self._clock = clock
        self._first: tp.Optional[tp.Tuple[float, int]] = None      # time and bytes of the first report
        self._percent = 0
        self._logged = clock()

    def report(self, have: int, total: tp.Optional[int]) -> None:
        now = self._clock()
        if self._first is None or have < self._first[1]:           # it came from the start again
            self._first = (now, have)
        percent = 100 * have // total if total else 0
        if percent // 10 > self._percent // 10 or percent > self._percent and now - self._logged >= OFTEN:
            self._percent, self._logged = percent, now
            logger.info("%s | %3d %% of %s%s", self._name, percent, size(total), self._pace(now, have, total))

    def _pace(self, now: float, have: int, total: int) -> str:
        begun, before = self._first or (now, have)
        seconds, got = now - begun, have - before
        if seconds < SLOW or not got:
            return ""
        left = datetime.timedelta(seconds=round((total - have) * seconds / got))
        return f" | {got / seconds / 1e6:.1f} MB/s" + (f" | {left} left" if have < total else "")


def size(count: int) -> str:
    """A number of bytes as text: "3.0 MB", "22.7 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
