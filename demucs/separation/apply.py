"""Separation of whole songs: plan -> run -> merge.

The plan (`dsp.chunks`) says which pieces a model sees; each runs by itself; the answers are added up in place, so that
besides the mixture and the result only the activations of one piece (of `workers` pieces) exist at a time.

A bag of models runs one model after the other, and each adds its part to the one result.

Same numbers as published Demucs for the same settings. The delays of the shift trick come from a keyed generator
instead of a global one, so a separation can be repeated.
"""

import concurrent.futures
import contextlib
import dataclasses
import math
import threading
import typing as tp
import weakref
from collections import deque

import torch
from torch import nn
from torch.nn import functional as F

from ..audio.reading import require_finite
from ..dsp.chunks import Chunk, OverlapAdd, widened
from ..dsp.convert import as_float
from ..dsp.randomness import generator
from ..errors import AudioError, ConfigError
from ..models import protocol
from . import settings as allowed
from .bag import BagOfModels, longest_segment
from .devices import require_kernels
from .precision import check_precision, computing_in

MAX_SHIFT_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class ChunkEvent:
    """A piece was begun or finished.

    `shift` counts the rounds of the shift trick, `offset` is where the piece starts within its round (samples), `done`
    of `total` samples are separated, over all rounds of all models. `model` counts the `models` of a bag.
    """
    state: str                 # "start" or "end"
    shift: int
    offset: int
    done: int
    total: int
    samplerate: int
    model: int = 0
    models: int = 1


Progress = tp.Callable[[ChunkEvent], None]


class _Member(tp.NamedTuple):
    """A model, its place in the bag, its part of each source, and a plan per round of the shift trick."""
    index: int
    model: nn.Module
    shares: tp.Sequence[float]
    plans: tp.Sequence[OverlapAdd]


class _Piece(tp.NamedTuple):
    """One call of a model: piece `index` of the plan of one round of the shift trick."""
    shift: int
    index: int
    chunk: Chunk


def shift_leads(shifts: int, samplerate: int, seed: int, model: int = 0) -> tp.List[int]:
    """By how many samples each round of the shift trick delays the song, each in [0, samplerate / 2].

    Every model of a bag has its own delays; the first one has those of a model that is alone.
    """
    longest = int(MAX_SHIFT_SECONDS * samplerate)
    place = (model,) if model else ()
    return [longest - int(generator(seed, "shift-trick", index, *place).integers(longest + 1))
            for index in range(shifts)]


def usable_device(name: str) -> torch.device:
    """The device called `name` ("cpu", "cuda", "cuda:1", ...). Raises ConfigError where this machine has none, or torch no
    kernels for it."""
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():
            require_kernels(device)
        torch.zeros(1, device=device).cpu()        # "meta" has no numbers to give back
    except ConfigError:
        raise
    except Exception as error:                     # each kind of device says in its own way that it is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"device {name!r} cannot be used on this machine ({reason}); use cpu") from error
    return device


def separate(model: nn.Module, mix: torch.Tensor, *, shifts: int = 1, split: bool = True, overlap: float = 0.25,
             transition_power: float = 1., segment: tp.Optional[float] = None,
             device: tp.Union[None, str, torch.device] = None, seed: int = 0,
             progress: tp.Optional[Progress] = None, workers: int = 0, precision: str = "float32") -> torch.Tensor:
    """Estimates [B, S, A, L] of the sources in `mix` [B, A, L], on the device of `mix`.

    The model comes back as it was: in its training mode, on its device. The models of a bag are moved to `device` one
    at a time; one that has no weight for any source is left out.

    Args:
        model: a `models.protocol.SeparationModel`, or a module with `sources`, `audio_channels`, `samplerate` and
            `segment`, and optionally `valid_length(samples) -> samples`; or a `BagOfModels` of such.
        mix: at the model's rate and number of channels, normalised as in training.
        shifts: rounds of the shift trick; 0 for none.
        split: cut the song into segments; otherwise the model sees all of it at once.
        overlap: part of a segment that the next one covers again, in [0, 1).
        transition_power: >= 1; larger values make the cross-fades steeper.
        segment: seconds, instead of the model's own.
        device: where to compute; default: where the model is.
        seed: of the shift trick.
        progress: called at the start and at the end of each piece, from one thread at a time.
        workers: threads, on a CPU; each takes the memory of one piece.
        precision: "float32", "bf16" or "tf32"; see `precision`.

    Raises:
        AudioError: for a mixture without samples, with samples that are not finite, or of another number of channels.
        ConfigError: for an impossible setting, such as a segment longer than the one a transformer was trained on.
    """
    mix = as_float(mix)
    if mix.dim() != 3 or mix.shape[1] != model.audio_channels or mix.shape[-1] == 0:
        raise AudioError(f"the model separates [batch, {model.audio_channels} channels, samples], "
                         f"got a mixture of shape {tuple(mix.shape)}")
    allowed.check({"shifts": shifts, "overlap": overlap, "transition_power": transition_power, "segment": segment,
                   "seed": seed, "workers": workers})
    check_precision(precision)
    require_finite(mix, "the mixture", model.samplerate)
    members = _members(model, mix.shape[-1], shifts=shifts, seed=seed, split=split, overlap=overlap,
                       transition_power=transition_power, segment=segment)
    out = torch.zeros(len(mix), len(model.sources), *mix.shape[1:], device=mix.device)
    meter = _Meter(progress, members, models=len(model.models) if isinstance(model, BagOfModels) else 1)
    for member in members:
        with _ready(member.model, device) as where:
            _add(member, mix, out, segment=segment, device=where, meter=meter, precision=precision,
                 workers=workers if where.type == "cpu" else 0)
    out /= max(1, shifts)
    return out


def _members(model: nn.Module, length: int, *, shifts: int, seed: int, segment: tp.Optional[float],
             **settings: tp.Any) -> tp.List[_Member]:
    """What there is to do for a song of `length` samples. Raises ConfigError before anything is computed."""
    parts = [(model, [1.] * len(model.sources))]
    if isinstance(model, BagOfModels):
        parts = list(zip(model.models, model.shares()))
    members = []
    for index, (single, shares) in enumerate(parts):
        longest = protocol.longest_segment(single)
        if segment is not None and longest < math.inf and \
                int(segment * single.samplerate) > int(longest * single.samplerate):
            raise ConfigError(f"segment={segment}: a transformer cannot separate longer pieces than it was trained on; "
                              f"the maximum for this model is {longest_segment(model):g} seconds")
        if any(shares):
            leads = shift_leads(shifts, single.samplerate, seed, index) or [0]
            plans = [_plan(length, lead, model=single, segment=segment, **settings) for lead in leads]
            members.append(_Member(index, single, shares, plans))
    return members


def _plan(length: int, lead: int, *, model: nn.Module, split: bool, overlap: float, transition_power: float,
          segment: tp.Optional[float]) -> OverlapAdd:
    if not split:
        _wanted(model, length + lead, segment)
        return OverlapAdd(length, segment=length + lead, stride=length + lead, lead=lead)
    seconds = model.segment if segment is None else segment
    size = int(model.samplerate * seconds)
    if size < 1:
        raise ConfigError(f"segment={seconds}: a segment is in seconds and must be longer than one sample")
    stride = int((1 - overlap) * size)
    if stride < 1:
        raise ConfigError(f"overlap={overlap} of a segment of {size} samples leaves no step forward")
    if stride >= length + lead:      # one piece with the gain 1, however much longer it could be: no memory for the rest
        size = stride = length + lead
    return OverlapAdd(length, segment=size, stride=stride, transition_power=transition_power, lead=lead)


def _wanted(model: nn.Module, length: int, segment: tp.Optional[float]) -> int:
    """How many samples a model wants to see to separate `length` of them.

    Raises:
        ConfigError: where it cannot see that many.
    """
    try:
        return protocol.input_length(model, length, segment)
    except ValueError as error:
        seconds = length / model.samplerate
        if segment is not None:
            raise ConfigError(f"segment={segment}: without splitting, {seconds:.1f} seconds must fit in one segment; "
                              f"leave the splitting on") from error
        raise ConfigError(f"this model cannot separate {seconds:.1f} seconds without splitting: {error}") from error


class _Meter:
    """Counts what is done over all models, and tells `progress`, from one thread at a time."""

    def __init__(self, progress: tp.Optional[Progress], members: tp.Sequence[_Member], *, models: int):
        self._progress = progress
        self._models = models
        self._total = sum(piece.chunk.length for member in members for piece in _pieces(member))
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, state: str, member: _Member, piece: _Piece) -> None:
        with self._lock:
            self._done += piece.chunk.length if state == "end" else 0
            if self._progress is not None:
                offset = piece.chunk.start - member.plans[piece.shift].chunks[0].start
                self._progress(ChunkEvent(state, piece.shift, offset, self._done, self._total,
                                          member.model.samplerate, member.index, self._models))


def _pieces(member: _Member) -> tp.List[_Piece]:
    return [_Piece(shift, index, chunk) for shift, plan in enumerate(member.plans)
            for index, chunk in enumerate(plan.chunks) if chunk.stop > 0]    # not what is silence only


def _add(member: _Member, mix: torch.Tensor, out: torch.Tensor, *, segment: tp.Optional[float], device: torch.device,
         meter: _Meter, precision: str, workers: int) -> None:
    """Add a model's part of its estimates, summed over the rounds of the shift trick, to `out` [B, S, A, L]."""
    def answer(piece: _Piece) -> torch.Tensor:
        meter("start", member, piece)
        gain = torch.from_numpy(member.plans[piece.shift].gain(piece.index)).to(device)
        with torch.no_grad(), computing_in(precision, device):     # here, because each thread has its own
            estimate = (_answer(member.model, mix, piece.chunk, segment, device) * gain).to(mix.device)
        meter("end", member, piece)
        return estimate

    pieces = _pieces(member)
    for piece, estimate in zip(pieces, _in_order(answer, pieces, workers)):
        inside = max(0, piece.chunk.start)   # what came out for the silence before the song is dropped
        for source, share in enumerate(member.shares):
            if share:                        # a source without weight may be anything, even not finite
                out[:, source, :, inside:piece.chunk.stop].add_(
                    estimate[:, source, :, inside - piece.chunk.start:], alpha=share)
        del estimate


def _answer(model: nn.Module, mix: torch.Tensor, chunk: Chunk, segment: tp.Optional[float], device: torch.device
            ) -> torch.Tensor:
    """The model's estimates [B, S, A, chunk.length] for one piece, given as much of the song as it wants to see."""
    wide, before = widened(chunk, _wanted(model, chunk.length, segment))
    length = mix.shape[-1]
    inside = mix[..., max(0, wide.start):min(length, wide.stop)].to(device)
    padded = F.pad(inside, (max(0, -wide.start), max(0, wide.stop - length)))
    return model(padded)[..., before:before + chunk.length]


def _in_order(function: tp.Callable[[_Piece], torch.Tensor], pieces: tp.Sequence[_Piece], workers: int
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


class _Use(tp.NamedTuple):
    """A model at work: how often, where, where it belongs, and the training modes of its modules before."""
    count: int
    where: torch.device
    home: torch.device
    modes: tp.List[tp.Tuple[nn.Module, bool]]


_in_use: "weakref.WeakKeyDictionary[nn.Module, _Use]" = weakref.WeakKeyDictionary()
_free = threading.Condition()


@contextlib.contextmanager
def _ready(model: nn.Module, device: tp.Union[None, str, torch.device]) -> tp.Iterator[torch.device]:
    """The model in evaluation mode on `device`; afterwards as it was. Several threads may use one model; those that want it
    on another device wait for the others."""
    where = _take(model, device)
    try:
        yield where
    finally:
        _give_back(model)


def _take(model: nn.Module, device: tp.Union[None, str, torch.device]) -> torch.device:
    with _free:
        while True:
            use = _in_use.get(model)
            home = use.home if use else next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
            where = home if device is None else torch.device(device)
            if use is None or use.where == where:
                break
            _free.wait()
        if use is None:
            use = _Use(0, where, home, [(module, module.training) for module in model.modules()])
            model.eval()
            try:
                if where != home:
                    model.to(where)
            except BaseException:
                _restore(model, use)
                raise
        _in_use[model] = use._replace(count=use.count + 1)
        return where


def _give_back(model: nn.Module) -> None:
    with _free:
        use = _in_use[model]
        _in_use[model] = use._replace(count=use.count - 1)
        if use.count > 1:
            return
        del _in_use[model]
        _restore(model, use)
        _free.notify_all()


def _restore(model: nn.Module, use: _Use) -> None:
    for module, mode in use.modes:
        module.training = mode
    if use.where != use.home:
        model.to(use.home)
