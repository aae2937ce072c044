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
    """Ensemble of models with the attributes `models`, `weights` [models][sources], and `sources`, `samplerate` and
    `audio_channels`, which all models share.

    A bag separates through `separation.apply.separate` or `demucs.apply.apply_model`; its `forward` raises an error.

    Args:
        models: one or more; the same module may occur several times.
        weights: one row per model with one number >= 0 per source; default: all 1.
        segment: length of a segment in seconds, set in the models themselves; default: each model's own. The segment of
            a model that is limited to its training length, such as HTDemucs, is only ever shortened.

    Raises:
        ConfigError: if the models differ in a shared attribute, or the weights do not fit the models.
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
    def max_allowed_segment(self) -> float:
        """Longest segment in seconds that every model can separate; infinite without a transformer."""
        return min(map(longest_segment, self.models), default=math.inf)

    def shares(self) -> tp.List[tp.List[float]]:
        """`weights` normalised to sum 1 per source, [models][sources].

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
    """Longest segment in seconds that a model, or every model of a bag, can separate; infinite for most models."""
    if isinstance(model, BagOfModels):
        return model.max_allowed_segment
    return float(protocol.longest_segment(model))
