"""Separation of a song of any length, span by span: plan, inference, overlap-add.

The plan lists the chunks that a model processes. Its estimates are added in place. So besides the mixture and the
result, only the activations of one model call (or of `workers` calls, or one per device) are in memory at a time. The
models of a bag run one after the other, and each adds its weighted estimates.

With `block` the song is processed in blocks. The chunks that start within a block are computed by all models and in all
rounds of the shift trick before the next block begins. The samples that no later chunk overlaps are then yielded, and
only unfinished samples are kept. At each sample the estimates are added in the order (block, model, round, chunk);
without blocks in the order (model, round, chunk). For one model in one round both orders are identical, to the bit;
otherwise the sums differ by rounding.

With `batch` several chunks, of one round or of several, are one model call, where the model needs the same number of
samples for them: for models with a fixed length that includes the last chunk of a song. The order of the sums is the
same, and estimates differ by the rounding of larger batches.
"""

import contextlib
import queue
import typing as tp
from collections import OrderedDict, deque

import torch
from torch import nn
from torch.nn import functional as F

from ..dsp.overlap_add import Chunk, widened
from ..errors import ConfigError
from ..models.protocol import normalizes_songs
from .batches import Batches, in_order
from .devices import Devices, Place, at_work, at_work_on, first_device, free_memory
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
           device: Devices = None, seed: int = 0, progress: tp.Optional[Progress] = None,
           workers: int = 0, precision: str = "float32", level: tp.Optional[Level] = None,
           batch: tp.Optional[int] = 1) -> tp.Iterator[Span]:
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
        batch: largest number of chunks that are one call of a model; None: on a GPU what fits into its memory,
            elsewhere 1.
        device: several devices share the chunks; see `devices.at_work_on`.

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
                  meter=meter, workers=workers, precision=precision, level=level, batch=batch)


def longest_input(model: nn.Module, length: int, *, segment: tp.Optional[float], **settings: tp.Any) -> int:
    """Largest number of samples that a model of `model` gets in one call for a song of `length` samples. `settings` are
    those of `plan.members_of`, and its errors are raised."""
    return max(input_length(member.model, piece.chunk.length, segment)
               for member in members_of(model, length, segment=segment, **settings) for piece in member.pieces())


def _spans(model: nn.Module, members: tp.Sequence[Member], read: Read, length: int, *, block: tp.Optional[float],
           rounds: int, device: Devices, batch: tp.Optional[int], **settings: tp.Any) -> tp.Iterator[Span]:
    size = length if block is None else max(1, int(block * model.samplerate))
    waiting = [deque(member.pieces() if block is None else sorted(member.pieces(), key=lambda piece: piece.chunk.start))
               for member in members]
    batches = [Batches(batch) for _ in members]
    gains = _Gains()
    example = read(0, 1)
    with contextlib.ExitStack() as stack:
        if block is not None:           # all models stay where they compute, until the song ends
            for member in members:
                stack.enter_context(at_work(member.model, first_device(device)))
        window = _Window(example, len(model.sources), device=_home(example, members, device, length, block))
        for end in range(size, length + size, size):
            for member, pieces, sizes in zip(members, waiting, batches):
                due = []
                while pieces and pieces[0].chunk.start < end:
                    due.append(pieces.popleft())
                if due:
                    window.reach(min(length, max(piece.chunk.stop for piece in due)))
                    _add(member, due, read, length, window, batches=sizes, gains=gains, device=device, **settings)
            finished = min([length, *(pieces[0].chunk.start for pieces in waiting if pieces)])
            if finished > window.start:
                start = window.start
                estimates = window.take(finished)
                estimates /= rounds
                yield Span(start, estimates.to(example.device))


def _home(example: torch.Tensor, members: tp.Sequence[Member], device: Devices, length: int,
          block: tp.Optional[float]) -> torch.device:
    """Device of the sums: the GPU that computes, where they fit, so that it need not wait for copies of each chunk;
    otherwise that of the mixture, of which `example` is a sample."""
    chosen = first_device(device)
    where = next((tensor.device for member in members for tensor in member.model.parameters()), example.device) \
        if chosen is None else torch.device(chosen)
    sources = len(members[0].shares) if members else 0
    kept = length if block is None else 0
    fits = free_memory(where) > 4 * example.element_size() * example.numel() * sources * kept
    return where if where.type == "cuda" and fits else example.device


class _Window:
    """Buffer of the unfinished samples of the result, [B, S, A, n] from sample `start` on."""

    def __init__(self, example: torch.Tensor, sources: int, *, device: torch.device):
        self.start = 0
        self.device = device
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


class _Gains:
    """Gains of chunks by device. Most chunks of a song have the same ones, so the last few are kept."""

    MOST = 8

    def __init__(self) -> None:
        self._known: "OrderedDict[tp.Any, torch.Tensor]" = OrderedDict()

    def of(self, member: Member, piece: Piece, device: torch.device) -> torch.Tensor:
        """Gain float32 [length of the chunk]."""
        plan = member.plans[piece.shift]
        key = member.index, plan.neighbours(piece.index), device
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = torch.from_numpy(plan.gain(piece.index)).to(device)
            while len(self._known) > self.MOST:
                self._known.popitem(last=False)
        return found


def _add(member: Member, pieces: tp.Sequence[Piece], read: Read, length: int, window: _Window, *,
         segment: tp.Optional[float], device: Devices, meter: Meter, precision: str, workers: int,
         level: tp.Optional[Level], batches: Batches, gains: _Gains) -> None:
    """Add a model's weighted estimates of `pieces` to the window."""
    level = level if normalizes_songs(member.model) else None
    with at_work_on(member.model, device) as places:
        free: "queue.SimpleQueue[Place]" = queue.SimpleQueue()
        parallel = len(places) if len(places) > 1 or places[0].device.type != "cpu" else max(1, workers)
        for index in range(parallel):
            free.put(places[index % len(places)])

        def run(group: tp.List[Piece]) -> tp.List[torch.Tensor]:
            place = free.get()
            try:
                return batches.run(lambda some: separated(some, place), group, place.device)
            finally:
                free.put(place)

        def separated(group: tp.List[Piece], place: Place) -> tp.List[torch.Tensor]:
            for piece in group:
                meter("start", member, piece)
            with torch.no_grad(), computing_in(precision, place.device):   # in the thread: both contexts are per thread
                estimates = _estimates(place.model, read, length, [piece.chunk for piece in group], segment,
                                       place.device, level)
                found = [(estimate * gains.of(member, piece, place.device)).to(window.device)
                         for piece, estimate in zip(group, estimates)]
            for piece in group:
                meter("end", member, piece)
            return found

        groups = batches.groups(pieces, lambda piece: input_length(member.model, piece.chunk.length, segment))
        estimates = (each for several in in_order(run, groups, parallel) for each in several)
        for piece, estimate in zip(pieces, estimates):
            inside = max(0, piece.chunk.start)   # the estimate of the silence before the song is dropped
            for source, share in enumerate(member.shares):
                if share:                        # estimates with weight 0 may be anything, even not finite
                    window.add(source, inside, estimate[:, source, :, inside - piece.chunk.start:], share)
            del estimate


def _estimates(model: nn.Module, read: Read, length: int, chunks: tp.Sequence[Chunk], segment: tp.Optional[float],
               device: torch.device, level: tp.Optional[Level]) -> tp.List[torch.Tensor]:
    """The model's estimates [B, S, A, chunk.length] of chunks for which it needs the same number of samples. They are
    computed in one call, with as much context as the model needs, and of the normalised chunks if `level` is given."""
    inputs, offsets = [], []
    for chunk in chunks:
        wide, before = widened(chunk, input_length(model, chunk.length, segment))
        inside = read(max(0, wide.start), min(length, wide.stop)).to(device)
        inside = inside if level is None else (inside - level.mean) / level.std
        inputs.append(F.pad(inside, (max(0, -wide.start), max(0, wide.stop - length))))   # with the mean of the song
        offsets.append(before)
    estimates = model(inputs[0] if len(inputs) == 1 else torch.cat(inputs))
    if level is not None:
        estimates = estimates * level.std + level.mean
    return [estimate[..., before:before + chunk.length]
            for estimate, before, chunk in zip(estimates.split(len(inputs[0])), offsets, chunks)]
