"""Augmentation of a batch of separated sources, on its device: shift, channel flip, sign flip, scale, remix.

The distributions and their order are those of published Demucs (Défossez et al., https://arxiv.org/abs/1911.13254):

- shift: each source (or each example, with `shift_same`) starts at a uniform offset in [0, shift);
- flip: the channels of each stereo source are swapped with probability 1/2, its sign is flipped with probability 1/2
  (the latter not without `sign`, as in Open-Unmix);
- scale: with probability `scale_proba` per batch, each source is scaled by a uniform factor in [scale_min, scale_max);
  with `same`, flip, sign and factor are one draw per example, so that they act on the mixture and on any sum of sources
  alike;
- remix: with probability `remix_proba` per batch, the sources within each group of `remix_group` examples are permuted
  over the examples, with one permutation per source.

Random draws are made on the CPU, keyed by seed, epoch, step and the position of an example or group in the global
batch, so the result does not depend on how that batch is split over ranks. All five operations are computed as one
indexing and one multiplication: an output source is given by an example of the batch (remix), an order of its channels
(flip), a window (shift) and a factor (sign, scale).
"""

import typing as tp
from dataclasses import dataclass

import numpy as np
import torch

from ..dsp.constants import to_device
from ..dsp.randomness import generator
from ..errors import ConfigError


@dataclass(frozen=True)
class Draws:
    """Random draws of the augmentation for `b` examples of `S` sources, in the order of the input batch, before
    remixing."""
    offset: np.ndarray      # [b, S] samples
    left: np.ndarray        # [b, S] channel that becomes the left one, 0 or 1
    factor: np.ndarray      # [b, S] sign times scale
    row: np.ndarray         # [b, S] input example of source s in output example b


class Augment:
    """Data augmentation of a batch: `augment(sources, epoch=, step=, first=)` maps separated sources [b, S, A, L] to a
    new tensor [b, S, A, L - shift]."""

    def __init__(self, *, seed: int, shift: int, shift_same: bool = False, flip: bool = True, sign: bool = True,
                 same: bool = False, scale_proba: float = 1., scale_min: float = 0.25, scale_max: float = 1.25,
                 remix_proba: float = 1., remix_group: tp.Optional[int] = 4, batch_size: tp.Optional[int] = None,
                 world_size: int = 1):
        """The settings are those listed at the top of this module: `shift` in samples, probabilities and factors as
        numbers, and `remix_group` in examples, where 0 or None means the whole global batch. `batch_size` is the size
        of that batch over all `world_size` ranks; None if unknown.

        Raises ConfigError for a negative shift, if `scale_min` exceeds `scale_max`, or if the known batch of a rank is
        not a multiple of the remix group.
        """
        self.seed = seed
        self.shift = shift
        self.shift_same = shift_same
        self.flip = flip
        self.sign = sign
        self.same = same
        self.scale_proba = scale_proba
        self.scale_min = scale_min
        self.scale_max = scale_max
        self.remix_proba = remix_proba
        self.remix_group = remix_group or batch_size
        if shift < 0:
            raise ConfigError(f"shift={shift} samples: dset.shift must not be negative")
        if scale_min > scale_max:
            raise ConfigError(f"augment.scale.min={scale_min} is above augment.scale.max={scale_max}")
        if batch_size is not None:
            self._check_groups(batch_size // world_size, 0)

    def _check_groups(self, examples: int, first: int) -> None:
        group = self.remix_group or first + examples    # the global batch is unknown, and has at least this size
        if self.remix_proba and (examples % group or first % group):
            raise ConfigError(f"{examples} examples per rank cannot be remixed in groups of {group}: make "
                              f"batch_size a multiple of (number of ranks) x augment.remix.group_size, use fewer "
                              f"ranks, or lower augment.remix.group_size")

    def draw(self, examples: int, sources: int, *, epoch: int, step: int, first: int) -> Draws:
        """Random draws for the examples `first` to `first` + `examples` - 1 of the global batch of `step`, with
        `sources` sources each. They depend on the arguments and the seed only. Raises ConfigError if `examples` or
        `first` is not a multiple of the remix group."""
        self._check_groups(examples, first)

        def chance(purpose: str, *place: int) -> np.random.Generator:
            return generator(self.seed, purpose, epoch, step, *place)

        shape = (examples, sources)
        offset, left, factor = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.ones(shape, np.float32)
        row = np.repeat(np.arange(examples)[:, None], sources, axis=1)
        own = 1 if self.same else sources
        scale = chance("scale this batch").random() < self.scale_proba
        for example in range(examples):
            place = first + example
            if self.shift:
                offset[example] = chance("shift", place).integers(self.shift, size=1 if self.shift_same else sources)
            if self.flip:
                left[example], sign = chance("flip", place).integers(2, size=(2, own))
                factor[example] = 2 * sign - 1 if self.sign else 1
            if scale:
                factor[example] *= chance("scale", place).uniform(self.scale_min, self.scale_max, own)
        if chance("remix this batch").random() < self.remix_proba:
            size = self.remix_group or examples
            for start in range(0, examples, size):
                draw = chance("remix", (first + start) // size)
                row[start:start + size] = start + draw.permuted(np.tile(np.arange(size)[:, None], sources), axis=0)
        return Draws(offset, left, factor, row)

    def __call__(self, sources: torch.Tensor, *, epoch: int, step: int, first: int = 0) -> torch.Tensor:
        """Augment `sources` [b, S, A, L], which are the examples from `first` on of the global batch of `step`.

        Raises ConfigError if b or `first` is not a multiple of the remix group, or if L is not longer than the shift.
        """
        examples, count, channels, length = sources.shape
        if length <= self.shift:
            raise ConfigError(f"examples of {length} samples are not longer than the shift of {self.shift}: "
                              f"raise dset.segment or lower dset.shift")
        draws = self.draw(examples, count, epoch=epoch, step=step, first=first)
        order = np.repeat(np.arange(channels)[None, None], examples, 0).repeat(count, 1)    # [b, S, A]
        if channels == 2:
            order = draws.left[..., None] ^ order
        source = np.arange(count)
        row = draws.row
        picked = [np.broadcast_to(part, order.shape) for part in
                  (row[..., None], source[:, None], order[row, source], draws.offset[row, source][..., None])]
        index = to_device(torch.from_numpy(np.stack(picked)), sources.device)
        factor = torch.from_numpy(draws.factor[row, source][..., None, None])
        factor = to_device(factor.to(sources.dtype), sources.device)
        windows = sources.unfold(-1, length - self.shift, 1)   # a view: [b, S, A, shift + 1, L - shift]
        return windows[tuple(index)].mul_(factor)
