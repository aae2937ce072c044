"""Plan of a separation: the chunks of a song that each model processes, and the weight of each model.

The chunks are those of `dsp.overlap_add`. Every round of the shift trick and every model of a bag has a plan of its
own. The first chunk of a shifted round starts before the song.
"""

import dataclasses
import math
import threading
import typing as tp

from torch import nn

from ..dsp.overlap_add import Chunk, OverlapAdd
from ..dsp.randomness import generator
from ..errors import ConfigError
from ..models import protocol
from .bag import BagOfModels, longest_segment

MAX_SHIFT_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class ChunkEvent:
    """Progress of a separation at the start or the end of one model call.

    `shift` is the index of the round of the shift trick. `offset` is the start of the chunk in samples, relative to the
    first chunk of its round. `done` of `total` samples are separated, counted over all chunks of all rounds and models,
    so that overlapping samples count several times. `model` is the index of the model in the bag, which has `models`
    models; a single model is 0 of 1.
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


class Member(tp.NamedTuple):
    """One model of a bag, or the only model, with what it has to compute: its index in the bag, its normalised weight
    for each source, and one overlap-add plan per round of the shift trick."""
    index: int
    model: nn.Module
    shares: tp.Sequence[float]
    plans: tp.Sequence[OverlapAdd]

    def pieces(self) -> tp.List["Piece"]:
        """All calls of the model, round by round of the shift trick, each in the order of the song. Chunks that end
        before the song begins are left out."""
        return [Piece(shift, index, chunk) for shift, plan in enumerate(self.plans)
                for index, chunk in enumerate(plan.chunks) if chunk.stop > 0]


class Piece(tp.NamedTuple):
    """One call of a model: `chunk`, which has the number `index` in the plan of round `shift` of the shift trick."""
    shift: int
    index: int
    chunk: Chunk


def shift_leads(shifts: int, samplerate: int, seed: int, model: int = 0) -> tp.List[int]:
    """Delays in samples of the `shifts` rounds of the shift trick, each drawn from [0, samplerate / 2]. Empty without
    rounds.

    Each index `model` of a bag has its own delays; those of the first (0) are also the delays of a single model.
    """
    longest = int(MAX_SHIFT_SECONDS * samplerate)
    key = (model,) if model else ()
    return [longest - int(generator(seed, "shift-trick", index, *key).integers(longest + 1))
            for index in range(shifts)]


def members_of(model: nn.Module, length: int, *, shifts: int, seed: int, segment: tp.Optional[float],
             **settings: tp.Any) -> tp.List[Member]:
    """Plans of a model, or of each model of a bag, for a song of `length` samples, with `shifts` rounds of the shift
    trick and segments of `segment` seconds (None: that of the model). Models with weight 0 for all sources are left
    out. `settings` are `split`, `overlap` and `transition_power`. Nothing is computed with the models.

    Raises:
        ConfigError: for settings that a model does not support, and for invalid weights of a bag.
    """
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
            members.append(Member(index, single, shares, plans))
    return members


def _plan(length: int, lead: int, *, model: nn.Module, split: bool, overlap: float, transition_power: float,
          segment: tp.Optional[float]) -> OverlapAdd:
    if not split:
        input_length(model, length + lead, segment)
        return OverlapAdd(length, segment=length + lead, stride=length + lead, lead=lead)
    seconds = model.segment if segment is None else segment
    size = int(model.samplerate * seconds)
    if size < 1:
        raise ConfigError(f"segment={seconds}: a segment is in seconds and must be longer than one sample")
    stride = int((1 - overlap) * size)
    if stride < 1:
        raise ConfigError(f"overlap={overlap} of a segment of {size} samples leaves no step forward")
    if stride >= length + lead:      # one chunk with gain 1; shortened to the song, so that no memory goes to padding
        size = stride = length + lead
    return OverlapAdd(length, segment=size, stride=stride, transition_power=transition_power, lead=lead)


def input_length(model: nn.Module, length: int, segment: tp.Optional[float]) -> int:
    """Number of input samples, at least `length`, that a model needs to separate `length` samples; see
    `models.protocol.input_length`. `segment` is the chosen length of a segment in seconds, or None.

    Raises:
        ConfigError: if the model cannot process that many.
    """
    try:
        return protocol.input_length(model, length, segment)
    except ValueError as error:
        seconds = length / model.samplerate
        if segment is not None and protocol.longest_segment(model) < math.inf:
            raise ConfigError(f"segment={segment}: without splitting, {seconds:.1f} seconds must fit in one segment; "
                              f"leave the splitting on") from error
        raise ConfigError(f"this model cannot separate {seconds:.1f} seconds without splitting: {error}") from error


class Meter:
    """Counter of the separated samples, summed over all chunks of `members`. A call with "start" or "end", a member and
    its piece reports to `progress` (if not None), from one thread at a time. `models` is the number of models of the
    bag, including those with weight 0."""

    def __init__(self, progress: tp.Optional[Progress], members: tp.Sequence[Member], *, models: int):
        self._progress = progress
        self._models = models
        self._total = sum(piece.chunk.length for member in members for piece in member.pieces())
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, state: str, member: Member, piece: Piece) -> None:
        with self._lock:
            self._done += piece.chunk.length if state == "end" else 0
            if self._progress is not None:
                offset = piece.chunk.start - member.plans[piece.shift].chunks[0].start
                self._progress(ChunkEvent(state, piece.shift, offset, self._done, self._total,
                                          member.model.samplerate, member.index, self._models))


def number_of_models(model: nn.Module) -> int:
    """Number of models of a bag, including those with weight 0; 1 for a single model."""
    return len(model.models) if isinstance(model, BagOfModels) else 1
