"""Separation of a song of any length, span by span: plan, inference, overlap-add.

The plan lists the chunks that a model processes. Each chunk is one model call, and its estimates are added in place. So
besides the mixture and the result, only the activations of one chunk (or `workers` chunks) are in memory at a time. The
models of a bag run one after the other, and each adds its weighted estimates.

With `block` the song is processed in blocks. The chunks that start within a block are computed by all models and in all
rounds of the shift trick before the next block begins. The samples that no later chunk overlaps are then yielded, and
only unfinished samples are kept. At each sample the estimates are added in the order (block, model, round, chunk);
without blocks in the order (model, round, chunk). For one model in one round both orders are identical, to the bit;
otherwise the sums differ by rounding.
"""

import concurrent.futures
import typing as tp
from collections import deque

import torch
from torch import nn
from torch.nn import functional as F

from ..dsp.overlap_add import Chunk, widened
from ..errors import ConfigError
from ..models.protocol import normalizes_songs
from .devices import at_work
from .plan import Member, Meter, Piece, Progress, input_length, members_of, number_of_models
from .precision import check_precision, computing_in

Read = tp.Callable[[int, int], torch.Tensor]


class Level(tp.NamedTuple):
    """Mean and standard deviation of a song, by which it is normalised for the models that expect that."""
    mean: float
    std: float


class Span(tp.NamedTuple):
    """Finished `estimates` [B, S, A, n] of samples [start, start + n) of the song."""
    start: int
    estimates: torch.Tensor


def stream(model: nn.Module, read: Read, length: int, *, block: tp.Optional[float] = None, shifts: int = 1,
           split: bool = True, overlap: float = 0.25, transition_power: float = 1., segment: tp.Optional[float] = None,
           device: tp.Union[None, str, torch.device] = None, seed: int = 0, progress: tp.Optional[Progress] = None,
           workers: int = 0, precision: str = "float32", level: tp.Optional[Level] = None) -> tp.Iterator[Span]:
    """Estimates of a song of `length` samples, as an iterator of consecutive spans that cover it. Chunks are computed
    while the spans are consumed.

    Args:
        model: as in `apply.separate`, like all arguments not listed here.
        read: function (start, stop) -> mixture [B, A, stop - start], with 0 <= start < stop <= length, called by
            several threads if `workers` > 1. The mixture is float32, finite, at the model's sample rate and number of
            channels, normalised as in training. The same samples are read more than once, but never further back from
            the last call than a block, a chunk and its context.
        block: shortest distance between the starts of two spans in seconds; None: the whole song is one span.
        level: for a bag of models that expect normalised songs and of others. `read` gives the song as it is.
            Models that expect it are given the song normalised by `level`, and their estimates are scaled back. None:
            the song is as all models expect it.

    Raises:
        ConfigError: as `apply.separate`, before anything is computed.
    """
    check_precision(precision)
    if block is not None and not block > 0:
        raise ConfigError(f"block={block}: a block is in seconds and must be longer than 0")
    members = members_of(model, length, shifts=shifts, seed=seed, split=split, overlap=overlap,
                         transition_power=transition_power, segment=segment)
    meter = Meter(progress, members, models=number_of_models(model))
    return _spans(model, members, read, length, block=block, rounds=max(1, shifts), segment=segment, device=device,
                  meter=meter, workers=workers, precision=precision, level=level)


def _spans(model: nn.Module, members: tp.Sequence[Member], read: Read, length: int, *, block: tp.Optional[float],
           rounds: int, **settings: tp.Any) -> tp.Iterator[Span]:
    size = length if block is None else max(1, int(block * model.samplerate))
    waiting = [deque(member.pieces() if block is None else sorted(member.pieces(), key=lambda piece: piece.chunk.start))
               for member in members]
    window = _Window(read(0, 1), len(model.sources))
    for end in range(size, length + size, size):
        for member, pieces in zip(members, waiting):
            due = []
            while pieces and pieces[0].chunk.start < end:
                due.append(pieces.popleft())
            if due:
                window.reach(min(length, max(piece.chunk.stop for piece in due)))
                _add(member, due, read, length, window, **settings)
        finished = min([length, *(pieces[0].chunk.start for pieces in waiting if pieces)])
        if finished > window.start:
            start = window.start
            estimates = window.take(finished)
            estimates /= rounds
            yield Span(start, estimates)


class _Window:
    """Buffer of the unfinished samples of the result, [B, S, A, n] from sample `start` on."""

    def __init__(self, example: torch.Tensor, sources: int):
        self.start = 0
        self.device = example.device
        self._shape = len(example), sources, example.shape[1]
        self._sums: tp.Optional[torch.Tensor] = None

    def reach(self, stop: int) -> None:
        """Extend the buffer to sample `stop` of the song."""
        known = 0 if self._sums is None else self._sums.shape[-1]
        if stop - self.start > known:
            sums = torch.zeros(*self._shape, stop - self.start, device=self.device)
            if self._sums is not None:
                sums[..., :known] = self._sums
            self._sums = sums

    def add(self, source: int, start: int, estimate: torch.Tensor, share: float) -> None:
        assert self._sums is not None
        offset = start - self.start
        self._sums[:, source, :, offset:offset + estimate.shape[-1]].add_(estimate, alpha=share)

    def take(self, stop: int) -> torch.Tensor:
        """Remove and return the finished samples, those before `stop`."""
        assert self._sums is not None
        finished = stop - self.start
        done, rest = self._sums[..., :finished], self._sums[..., finished:]
        self._sums, self.start = rest.clone() if rest.shape[-1] else None, stop
        return done


def _add(member: Member, pieces: tp.Sequence[Piece], read: Read, length: int, window: _Window, *,
         segment: tp.Optional[float], device: tp.Union[None, str, torch.device], meter: Meter, precision: str,
         workers: int, level: tp.Optional[Level]) -> None:
    """Add a model's weighted estimates of `pieces` to the window."""
    level = level if normalizes_songs(member.model) else None
    with at_work(member.model, device) as where:
        def run(piece: Piece) -> torch.Tensor:
            meter("start", member, piece)
            gain = torch.from_numpy(member.plans[piece.shift].gain(piece.index)).to(where)
            with torch.no_grad(), computing_in(precision, where):     # inside the thread: both contexts are per thread
                estimate = _estimate(member.model, read, length, piece.chunk, segment, where, level)
                estimate = (estimate * gain).to(window.device)
            meter("end", member, piece)
            return estimate

        for piece, estimate in zip(pieces, _in_order(run, pieces, workers if where.type == "cpu" else 0)):
            inside = max(0, piece.chunk.start)   # the estimate of the silence before the song is dropped
            for source, share in enumerate(member.shares):
                if share:                        # estimates with weight 0 may be anything, even not finite
                    window.add(source, inside, estimate[:, source, :, inside - piece.chunk.start:], share)
            del estimate


def _estimate(model: nn.Module, read: Read, length: int, chunk: Chunk, segment: tp.Optional[float],
              device: torch.device, level: tp.Optional[Level]) -> torch.Tensor:
    """The model's estimates [B, S, A, chunk.length] of one chunk, computed with as much context as the model needs, and
    of the normalised chunk if `level` is given."""
    wide, before = widened(chunk, input_length(model, chunk.length, segment))
    inside = read(max(0, wide.start), min(length, wide.stop)).to(device)
    inside = inside if level is None else (inside - level.mean) / level.std
    padded = F.pad(inside, (max(0, -wide.start), max(0, wide.stop - length)))      # with the mean of the song
    estimate = model(padded)[..., before:before + chunk.length]
    return estimate if level is None else estimate * level.std + level.mean


def _in_order(function: tp.Callable[[Piece], torch.Tensor], pieces: tp.Sequence[Piece], workers: int
              ) -> tp.Iterator[torch.Tensor]:
    """Results in the order of `pieces`; at most `workers` of them are computed ahead, which limits memory."""
    if workers < 2:
        yield from map(function, pieces)
        return
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending: tp.Deque[concurrent.futures.Future] = deque()
        try:
            for piece in pieces:
                if len(pending) == workers:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, piece))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
