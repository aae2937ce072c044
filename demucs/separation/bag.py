"""Bags of models: the estimate of each source is the weighted mean of the estimates of several models.

Attributes and rules are those of published Demucs, so that programs written for it keep working.
"""

import math
import typing as tp

import torch
from torch import nn

from ..errors import ConfigError
from ..models import protocol
from ..ranges import SECONDS, WEIGHT, shown

Weights = tp.Sequence[tp.Sequence[float]]


class BagOfModels(nn.Module):
    """Ensemble of models: the estimate of each source is the weighted mean of theirs. Its attributes are `models`,
    `weights` [models][sources], and `sources`, `samplerate` and `audio_channels`, which are equal in all models.

    A bag separates through `separation.apply.separate` or `demucs.apply.apply_model`; its `forward` raises an error.

    Args:
        models: one or more; the same module may occur several times.
        weights: one row per model with one number >= 0 per source, some number of each source being > 0; default: all
            1.
        segment: length of a segment in seconds, which the constructor stores in the models themselves; default: each
            model's own. A model that is limited to its training length, such as HTDemucs, keeps its segment if
            `segment` exceeds that length.

    Raises:
        ConfigError: if the models differ in a shared attribute, the weights do not fit the models, or `segment` is not
            a positive number of seconds.
    """

    def __init__(self, models: tp.Sequence[nn.Module], weights: tp.Optional[Weights] = None,
                 segment: tp.Optional[float] = None):
        super().__init__()
        if not models:
            raise ConfigError("a bag needs at least one model")
        first = models[0]
        for index, other in enumerate(models):
            for name in ("sources", "samplerate", "audio_channels"):
                if getattr(other, name) != getattr(first, name):
                    raise ConfigError(f"model {index} of the bag has {name}={getattr(other, name)}, model 0 has "
                                      f"{getattr(first, name)}; the models of a bag must agree")
        if segment is not None:
            SECONDS.check("segment", segment)
        self.audio_channels = first.audio_channels
        self.samplerate = first.samplerate
        self.sources = first.sources
        self.models = nn.ModuleList(models)
        self.weights = [[1.] * len(first.sources) for _ in models] if weights is None else weights
        self.shares()
        for model in models if segment is not None else ():
            if segment <= protocol.longest_segment(model):
                model.segment = segment

    @property
    def normalizes_songs(self) -> bool:
        """Whether some model expects a normalised song. If not all of them do, each gets the song as it expects it; see
        `stream.stream`."""
        return any(map(protocol.normalizes_songs, self.models))

    @property
    def default_shifts(self) -> int:
        """Largest number of rounds of the shift trick that one of the models has as default."""
        return max(map(protocol.default_shifts, self.models))

    @property
    def max_allowed_segment(self) -> float:
        """Longest segment in seconds that every model of the bag can separate: the shortest training length of its
        transformers; infinite if it has none."""
        return min(map(longest_segment, self.models), default=math.inf)

    def shares(self) -> tp.List[tp.List[float]]:
        """Weights of the models, [models][sources]: `weights` divided by their sum for each source. `weights` itself is
        not changed.

        Raises:
            ConfigError: for weights of another shape, that are negative or not finite, or that sum to 0 for a source.
        """
        models, sources = len(self.models), len(self.sources)
        if len(self.weights) != models:
            raise ConfigError(f"weights has {len(self.weights)} rows for {models} models; it needs one per model")
        for index, row in enumerate(self.weights):
            if len(row) != sources:
                raise ConfigError(f"weights[{index}] has {len(row)} numbers for {sources} sources "
                                  f"({', '.join(self.sources)}); it needs one per source")
            for weight in row:
                if weight not in WEIGHT:
                    raise ConfigError(f"weights[{index}] has {shown(weight)}, which {WEIGHT.demand(weight)}")
        totals = [math.fsum(row[source] for row in self.weights) for source in range(sources)]
        for name, total in zip(self.sources, totals):
            if not total > 0:
                raise ConfigError(f"weights add up to {total} for {name}; some model must have a weight above 0 for it")
        return [[weight / total for weight, total in zip(row, totals)] for row in self.weights]

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Raise NotImplementedError: a bag is not a network."""
        raise NotImplementedError("a bag separates through apply_model, which runs its models one after the other")


def longest_segment(model: nn.Module) -> float:
    """Longest segment in seconds that a model, or every model of a bag, can separate; infinite for models without a
    transformer."""
    if isinstance(model, BagOfModels):
        return model.max_allowed_segment
    return float(protocol.longest_segment(model))
