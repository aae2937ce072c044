"""How far a separation has come: a bar on a terminal, a few lines in a log file."""

import logging
import sys
import time
import typing as tp

import tqdm

from ..console import TolerantStream
from .plan import ChunkEvent, Progress


class LoggedProgress:
    """Logs a line at every tenth of a separation: part done, speed, time left."""

    def __init__(self, logger: logging.Logger, name: str):
        self.logger = logger
        self.name = name
        self._begin = time.monotonic()
        self._tenths = 0

    def __call__(self, event: ChunkEvent) -> None:
        tenths = 10 * event.done // event.total
        if tenths == self._tenths:
            return
        self._tenths = tenths
        elapsed = max(time.monotonic() - self._begin, 1e-9)
        left = elapsed * (event.total - event.done) / event.done
        self.logger.info("%s | %3d %% | %.1f times real time | %.0f s left", self.name, 10 * tenths,
                         event.done / event.samplerate / elapsed, left)


class BarProgress:
    """A bar in seconds of audio on the terminal, which stays when it is full."""

    def __init__(self, name: str, stream: tp.TextIO):
        self._bar = tqdm.tqdm(desc=name, total=1, file=stream, dynamic_ncols=True, bar_format="{desc} {percentage:3.0f}"
                              "% |{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]")

    def __call__(self, event: ChunkEvent) -> None:
        self._bar.total = event.total / event.samplerate
        self._bar.n = event.done / event.samplerate
        self._bar.refresh()
        if event.done == event.total:
            self._bar.close()


def reporter(logger: logging.Logger, name: str, stream: tp.Optional[tp.TextIO] = None) -> Progress:
    """What to pass as `progress` for one song: a bar where `stream` (default: stderr) is a terminal, else log lines."""
    shown = TolerantStream(sys.stderr if stream is None else stream)     # a program may have replaced or closed it
    return BarProgress(name, tp.cast(tp.TextIO, shown)) if shown.isatty() else LoggedProgress(logger, name)


class CallbackProgress:
    """Passes events on as the dictionaries that programs written for published Demucs expect.

    A dictionary holds what is in `extra`, and over it `model_idx_in_bag`, `models`, `shift_idx`, `segment_offset`
    (samples) and `state` ("start" or "end"). What `callback` raises, for instance KeyboardInterrupt, ends the
    separation.
    """

    def __init__(self, callback: tp.Callable[[tp.Dict[str, tp.Any]], None],
                 extra: tp.Optional[tp.Mapping[str, tp.Any]] = None):
        self.callback = callback
        self.extra = dict(extra or {})

    def __call__(self, event: ChunkEvent) -> None:
        self.callback({**self.extra, "model_idx_in_bag": event.model, "models": event.models, "shift_idx": event.shift,
                       "segment_offset": event.offset, "state": event.state})


def together(*listeners: tp.Optional[Progress]) -> tp.Optional[Progress]:
    """One listener for all of `listeners` that are not None; None where there is none."""
    there = [listener for listener in listeners if listener is not None]

    def listen(event: ChunkEvent) -> None:
        for listener in there:
            listener(event)

    return listen if there else None
