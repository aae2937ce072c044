"""Songs in files, read in blocks: a first pass measures length and level, a second one gives the samples to the models.

What is in memory does not depend on the length of the song. Files that cannot be decoded in blocks (see
`audio.decoders`) are the exception: they are read as a whole.
"""

import collections
import contextlib
import logging
import math
import threading
import typing as tp
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..audio import decoders, reading
from ..dsp.block_resampling import BlockResampler
from ..dsp.convert import convert_channels
from ..errors import AudioError
from ..models.protocol import normalizes_songs
from .bag import BagOfModels
from .devices import Devices
from .song import EPSILON, NOT_FINITE, load_song, regular_file
from .stream import Level, longest_input, stream

logger = logging.getLogger(__name__)

BLOCK = 10.             # seconds between the starts of two spans of a single model
BAG_BLOCK = 60.         # of several models or rounds, whose estimates have to wait for one another
GPU_BLOCK = 180.        # on a GPU, where batches may be large
CALLS = 2               # of each thread or device between the starts of two spans, so that they seldom wait


class Stopped(Exception):
    """Signal that a pass over a song was stopped by another thread."""


class _Meter:
    """Mean and standard deviation of the mono mixture of a song, given in blocks; sums are in float64."""

    def __init__(self) -> None:
        self.count, self._mean, self._squares = 0, 0., 0.

    def add(self, block: torch.Tensor) -> None:
        mono = block.mean(dim=0).numpy().astype(np.float64)
        count, mean = len(mono), float(mono.mean())
        mono -= mean
        total = self.count + count
        apart = mean - self._mean
        self._squares += float(np.square(mono).sum()) + apart ** 2 * self.count * count / total
        self._mean += apart * count / total
        self.count = total

    @property
    def level(self) -> Level:
        """Mean, and standard deviation plus EPSILON, both rounded to float32."""
        variance = self._squares / max(1, self.count - 1)
        return Level(float(np.float32(self._mean)), float(np.float32(np.float32(math.sqrt(variance)) + EPSILON)))


class SongFile:
    """Song in a file, converted to a model's sample rate and number of channels as by `song.load_song`. A context
    manager, which keeps the content of a pipe in a temporary file.

    Entering it makes the first pass over the file. `read` returns samples, which must move forward: not more than
    `kept` samples before the last ones that were read.

    Args:
        path: file, or pipe.
        samplerate, channels: of the model; the rate is in Hz.
        stop: event that ends a pass with `Stopped` when it is set.

    Attributes:
        path: the file.
        length: number of samples per channel.
        level: mean and standard deviation of the mono mixture.
        kept: number of samples that stay readable; to be set before the first `read`.

    Raises:
        AudioError, ToolError: as `song.load_song`, on entering.
    """

    def __init__(self, path: tp.Union[str, Path], *, samplerate: int, channels: int,
                 stop: tp.Optional[threading.Event] = None):
        self.path = Path(path)
        self.samplerate, self.channels = samplerate, channels
        self.length, self.kept = 0, 0
        self.level = Level(0., 1.)
        self._stop = stop
        self._whole: tp.Optional[torch.Tensor] = None
        self._decoder: tp.Optional[decoders.Decoder] = None
        self._source: tp.Optional[tp.Iterator[torch.Tensor]] = None
        self._blocks: tp.Deque[torch.Tensor] = collections.deque()
        self._start = self._stop_at = 0          # samples in the blocks
        self._furthest = 0                       # end of the samples that were read
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "SongFile":
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(regular_file(self.path))
            self._measure(file)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: tp.Any) -> None:
        self.close()

    def close(self) -> None:
        """End reading, and delete the copy of a pipe."""
        self._source = None
        self._blocks.clear()
        self._stack.close()

    def _measure(self, file: Path) -> None:
        meter = _Meter()
        try:
            self._decoder = decoders.decoder(file, self.samplerate)
            for block in self._converted(_finite(self._decoder, self.path), first=True):
                meter.add(block)
            if self._decoder.complaint:
                logger.warning("%s: %s", file, self._decoder.complaint)
        except decoders.Irregular:
            meter, self._decoder = _Meter(), None
            self._whole = load_song(file, samplerate=self.samplerate, channels=self.channels)
            for block in self._whole.split(decoders.FRAMES, dim=-1):
                meter.add(block)
        if not meter.count:
            raise AudioError(f"{self.path}: is shorter than one sample at {self.samplerate} Hz; there is nothing to "
                             f"separate")
        self.length, self.level = meter.count, meter.level

    def _converted(self, blocks: tp.Iterable[torch.Tensor], *, first: bool = False) -> tp.Iterator[torch.Tensor]:
        """`blocks` of the file, converted."""
        resampler: tp.Optional[BlockResampler] = None
        for block in blocks:
            if self._stop is not None and self._stop.is_set():
                raise Stopped
            if resampler is None:
                assert self._decoder is not None
                resampler = BlockResampler(self._decoder.samplerate, self.samplerate)
                if first and block.shape[0] > self.channels > 1:
                    logger.warning("%s has %d channels: only the first %d are separated", self.path, block.shape[0],
                                   self.channels)
            converted = resampler.push(convert_channels(block, self.channels))
            if converted.shape[-1]:
                yield converted
        if resampler is None:
            raise decoders.Irregular(f"{self.path}: has no samples")
        rest = resampler.finish()
        if rest.shape[-1]:
            yield rest

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Samples [channels, stop - start] of the song, with 0 <= start < stop <= length.

        Raises:
            AudioError: if the file has changed since the first pass.
        """
        with self._lock:
            if self._whole is not None:
                return self._whole[:, start:stop]
            assert start >= self._start, "the samples were dropped"
            while self._stop_at < stop:
                self._pull()
            self._furthest = max(self._furthest, stop)
            while self._start + self._blocks[0].shape[-1] <= min(start, self._furthest - self.kept):
                self._start += self._blocks.popleft().shape[-1]
            parts, place = [], self._start
            for block in self._blocks:
                part = block[:, max(0, start - place):max(0, stop - place)]
                parts += [part] if part.shape[-1] else []
                place += block.shape[-1]
            return torch.cat(parts, dim=-1)

    def _pull(self) -> None:
        assert self._decoder is not None
        if self._source is None:
            self._source = self._converted(self._decoder.blocks())
        try:
            block = next(self._source, None)
        except decoders.Irregular:
            block = None
        if block is None or self._stop_at + block.shape[-1] > self.length:
            raise AudioError(f"{self.path}: has changed while it was separated; try again")
        self._blocks.append(block)
        self._stop_at += block.shape[-1]


def separate_in_blocks(model: nn.Module, song: SongFile, *, shifts: int = 1, split: bool = True, overlap: float = 0.25,
                       segment: tp.Optional[float] = None, seed: int = 0, **settings: tp.Any
                       ) -> tp.Iterator[tp.Tuple[torch.Tensor, torch.Tensor]]:
    """Consecutive parts (mixture [A, n], estimates [S, A, n]) of a song that was entered and not read yet. Joined, the
    estimates are those of `song.separate_song` up to rounding.

    `settings` are further keyword arguments of `stream.stream`. Errors are those of `separate_song`, and of
    `SongFile.read`.
    """
    plan: tp.Dict[str, tp.Any] = dict(shifts=shifts, split=split, overlap=overlap, segment=segment, seed=seed)
    longest = longest_input(model, song.length, transition_power=settings.get("transition_power", 1.), **plan)
    block = _seconds_of_block(model, shifts, overlap, segment, **settings)
    song.kept = int(block * song.samplerate) + 2 * longest
    mean, std = song.level
    mixed = isinstance(model, BagOfModels) and len(set(map(normalizes_songs, model.models))) > 1
    normalised = normalizes_songs(model) and not mixed

    def read(start: int, stop: int) -> torch.Tensor:
        part = song.read(start, stop)
        return ((part - mean).div_(std) if normalised else part)[None]

    for span in stream(model, read, song.length, block=block, level=song.level if mixed else None, **plan, **settings):
        estimates = span.estimates[0]
        if normalised:
            estimates *= std
            estimates += mean
        if not reading.all_finite(estimates):
            raise AudioError(NOT_FINITE)
        yield song.read(span.start, span.start + estimates.shape[-1]), estimates


def _seconds_of_block(model: nn.Module, shifts: int, overlap: float, segment: tp.Optional[float], *,
                      device: Devices = None, workers: int = 0, batch: tp.Optional[int] = 1, **_: tp.Any) -> float:
    """Distance in seconds between the starts of two spans: short, but long enough for batches and for what is computed
    in parallel."""
    models = list(model.models) if isinstance(model, BagOfModels) else [model]
    stride = max(each.segment if segment is None else segment for each in models) * (1 - overlap)
    devices = device if isinstance(device, (list, tuple)) else [device]
    on_gpu = any(each is not None and torch.device(each).type == "cuda" for each in devices)
    parallel = len(devices) if len(devices) > 1 else 1 if on_gpu else max(1, workers)
    shortest = BAG_BLOCK if len(models) > 1 or shifts > 1 else BLOCK
    calls = CALLS if parallel > 1 or (batch or 1) > 1 else 0
    return max(GPU_BLOCK if on_gpu else shortest, calls * parallel * (batch or 1) * stride / max(1, shifts))


def _finite(decoder: decoders.Decoder, path: Path) -> tp.Iterator[torch.Tensor]:
    """Blocks of the decoder. Raises AudioError after the last of them if samples are not finite, with the message of
    `reading.require_finite`."""
    place, bad, first = 0, 0, 0
    for block in decoder.blocks():
        if not reading.all_finite(block):
            wrong = ~torch.isfinite(block).all(dim=0)
            first = first if bad else place + int(wrong.nonzero()[0])
            bad += int(wrong.sum())
        place += block.shape[-1]
        yield block if not bad else torch.zeros_like(block)     # of no use any more
    if bad:
        raise reading.not_finite(path, bad, first / decoder.samplerate)
