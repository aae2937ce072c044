"""Progress of a separation: a bar on a terminal, or a few lines in a log file."""

import logging
import sys
import time
import typing as tp

import tqdm

from ..console import TolerantStream
from .plan import ChunkEvent, Progress


class LoggedProgress:
    """Progress callback that logs a line, at level INFO, whenever another tenth of a separation is done: `name`,
    percentage, speed relative to real time, seconds left."""

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
    """Progress callback that draws a bar on `stream`, in seconds of separated audio. It stays visible at the end."""

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
    """Progress callback for the song `name`: a bar if `stream` (default: stderr) is a terminal, otherwise lines in
    `logger`."""
    shown = TolerantStream(sys.stderr if stream is None else stream)     # a program may have replaced or closed stderr
    return BarProgress(name, tp.cast(tp.TextIO, shown)) if shown.isatty() else LoggedProgress(logger, name)


class CallbackProgress:
    """Progress callback that passes events to `callback` as the dictionaries of published Demucs.

    A new dictionary for each event holds the entries of `extra`, updated with `model_idx_in_bag`, `models`,
    `shift_idx`, `segment_offset` (samples) and `state` ("start" or "end"). An exception from `callback`, for instance
    KeyboardInterrupt, ends the separation.
    """

    def __init__(self, callback: tp.Callable[[tp.Dict[str, tp.Any]], None],
                 extra: tp.Optional[tp.Mapping[str, tp.Any]] = None):
        self.callback = callback
        self.extra = dict(extra or {})

    def __call__(self, event: ChunkEvent) -> None:
        self.callback({**self.extra, "model_idx_in_bag": event.model, "models": event.models, "shift_idx": event.shift,
                       "segment_offset": event.offset, "state": event.state})


def together(*listeners: tp.Optional[Progress]) -> tp.Optional[Progress]:
    """Progress callback that calls all of `listeners` that are not None, in their order; None if all are None."""
    present = [listener for listener in listeners if listener is not None]

    def listen(event: ChunkEvent) -> None:
        for listener in present:
            listener(event)

    return listen if present else None
