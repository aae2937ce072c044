"""Hybrid models that are used at the length of their training examples."""

import typing as tp

import torch
from torch.nn import functional as F

from .net import HybridNet


class SegmentNet(HybridNet):
    """Hybrid model whose `segment` in seconds is also the length of a training example, if `use_train_segment`: outside
    of training, shorter input is padded to it, and longer input is refused. Other arguments are those of
    `HybridNet`."""

    def __init__(self, sources: tp.Sequence[str], *, use_train_segment: bool, **settings: tp.Any):
        super().__init__(sources, **settings)
        self.use_train_segment = use_train_segment

    @property
    def longest_segment(self) -> float:
        """Longest segment in seconds that the model can separate: `segment`, the length of its training examples, since
        the transformer was not trained on later positions."""
        return self.segment

    def input_length(self, length: int, segment: tp.Optional[float] = None) -> int:
        """Number of input samples, >= `length`, that the model needs to separate `length` samples: a whole segment of
        `segment` seconds, or without `segment` that of `valid_length`.

        Raises:
            ValueError: if that is less than `length`.
        """
        if segment is None:
            return self.valid_length(length)
        known = int(segment * self.samplerate)
        if known < length:
            raise ValueError(f"{length} samples are more than a segment of {segment:g} s")
        return known

    def valid_length(self, length: int) -> int:
        """Number of input samples for `length` samples: with `use_train_segment` those of a training example, otherwise
        `length`.

        Raises:
            ValueError: with `use_train_segment`, if a training example is shorter than `length`.
        """
        if not self.use_train_segment:
            return length
        known = int(self.segment * self.samplerate)
        if length > known:
            raise ValueError(f"{length} samples are more than the {known} ({float(self.segment):g} s) that this model "
                             f"was trained on; separate in segments of at most {float(self.segment):g} s")
        return known

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L]. Outside of training mode, with
        `use_train_segment`, shorter input is padded with zeros to the training length.

        Raises:
            ValueError: if the mixture is longer than that.
        """
        length = mix.shape[-1]
        if self.training:
            return super().forward(mix)
        return super().forward(F.pad(mix, (0, self.valid_length(length) - length)))[..., :length]
