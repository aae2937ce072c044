"""Separation of a song of any length, span by span: plan -> run -> merge.

The plan says which pieces a model sees; each runs by itself; the answers are added up in place, so that besides the mixture
and the result only the activations of one piece (of `workers` pieces) exist at a time. A bag of models runs one model after
the other, and each adds its part.

With `block` the song is worked through in blocks: what begins in one is computed by all models and in all rounds of the shift
trick before the next block begins, and what no later piece reaches is yielded. Only the samples that are not finished are
kept. At each sample the estimates are added in the order (block, model, round, piece); without blocks that is the order of
(model, round, piece). For one model in one round both are the same, to the bit; else the sums differ by rounding.
"""

import concurrent.futures
import typing as tp
from collections import deque

import torch
from torch import nn
from torch.nn import functional as F

from ..dsp.overlap_add import Chunk, widened
from ..errors import ConfigError
from .devices import at_work
from .plan import Member, Meter, Piece, Progress, input_length, members_of, number_of_models
from .precision import check_precision, computing_in

Read = tp.Callable[[int, int], torch.Tensor]


class Span(tp.NamedTuple):
    """Finished `estimates` [B, S, A, L] of the song from sample `start` on."""
    start: int
    estimates: torch.Tensor


def stream(model: nn.Module, read: Read, length: int, *, block: tp.Optional[float] = None, shifts: int = 1,
           split: bool = True, overlap: float = 0.25, transition_power: float = 1., segment: tp.Optional[float] = None,
           device: tp.Union[None, str, torch.device] = None, seed: int = 0, progress: tp.Optional[Progress] = None,
           workers: int = 0, precision: str = "float32") -> tp.Iterator[Span]:
    """Estimates of a song of `length` samples, in spans that follow on one another.

    Args:
        read: called (by several threads, with `workers`) with (start, stop), 0 <= start < stop <= length, for the mixture
            [B, A, stop - start] there, as float32, finite, at the model's rate and number of channels, normalised as in
            training. It is asked for the same samples more than once, but never for what lies further back from the last
            call than a block, a piece and its context.
        block: seconds from one span to the next, at least; None: the whole song is one span.
        model, others: as in `apply.separate`.

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
                  meter=meter, workers=workers, precision=precision)


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
    """The samples of the result that are not finished, [B, S, A, n] from `start` on."""

    def __init__(self, example: torch.Tensor, sources: int):
        self.start = 0
        self.device = example.device
        self._shape = len(example), sources, example.shape[1]
        self._sums: tp.Optional[torch.Tensor] = None

    def reach(self, stop: int) -> None:
        """Make room up to sample `stop` of the song."""
        known = 0 if self._sums is None else self._sums.shape[-1]
        if stop - self.start > known:
            sums = torch.zeros(*self._shape, stop - self.start, device=self.device)
            if self._sums is not None:
                sums[..., :known] = self._sums
            self._sums = sums

    def add(self, source: int, start: int, estimate: torch.Tensor, share: float) -> None:
        assert self._sums is not None
        place = start - self.start
        self._sums[:, source, :, place:place + estimate.shape[-1]].add_(estimate, alpha=share)

    def take(self, stop: int) -> torch.Tensor:
        """The samples before `stop`, which are finished."""
        assert self._sums is not None
        finished = stop - self.start
        done, rest = self._sums[..., :finished], self._sums[..., finished:]
        self._sums, self.start = rest.clone() if rest.shape[-1] else None, stop
        return done


def _add(member: Member, pieces: tp.Sequence[Piece], read: Read, length: int, window: _Window, *,
         segment: tp.Optional[float], device: tp.Union[None, str, torch.device], meter: Meter, precision: str,
         workers: int) -> None:
    """Add a model's part of its estimates of `pieces` to the window."""
    with at_work(member.model, device) as where:
        def answer(piece: Piece) -> torch.Tensor:
            meter("start", member, piece)
            gain = torch.from_numpy(member.plans[piece.shift].gain(piece.index)).to(where)
            with torch.no_grad(), computing_in(precision, where):     # here, because each thread has its own
                estimate = (_answer(member.model, read, length, piece.chunk, segment, where) * gain).to(window.device)
            meter("end", member, piece)
            return estimate

        for piece, estimate in zip(pieces, _in_order(answer, pieces, workers if where.type == "cpu" else 0)):
            inside = max(0, piece.chunk.start)   # what came out for the silence before the song is dropped
            for source, share in enumerate(member.shares):
                if share:                        # a source without weight may be anything, even not finite
                    window.add(source, inside, estimate[:, source, :, inside - piece.chunk.start:], share)
            del estimate


def _answer(model: nn.Module, read: Read, length: int, chunk: Chunk, segment: tp.Optional[float], device: torch.device
            ) -> torch.Tensor:
    """The model's estimates [B, S, A, chunk.length] for one piece, given as much of the song as it wants to see."""
    wide, before = widened(chunk, input_length(model, chunk.length, segment))
    inside = read(max(0, wide.start), min(length, wide.stop)).to(device)
    padded = F.pad(inside, (max(0, -wide.start), max(0, wide.stop - length)))
    return model(padded)[..., before:before + chunk.length]


def _in_order(function: tp.Callable[[Piece], torch.Tensor], pieces: tp.Sequence[Piece], workers: int
              ) -> tp.Iterator[torch.Tensor]:
    """Results in the order of `pieces`, never more than `workers` of them begun ahead: their memory is the limit."""
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
