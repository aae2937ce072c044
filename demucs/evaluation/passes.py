"""Repeated separations of a song, to measure how consistent a model's estimates are.

Each function returns passes [K, S, A, L] for `metrics.quality.agreement`. There are three kinds of repetition:

- the song is shifted relative to the model's segments, as in the shift trick (Défossez et al. 2019, arXiv:1911.13254);
- the estimates are shifted in time relative to each other and mixed again. If they were the true sources, the remix
  would be as good a song as the original, and a good model would separate it into the same estimates. (RemixIT trains
  without references on remixed estimates: E. Tzinis et al., IEEE JSTSP 16(6), 2022.)
- the song is separated by each model of a bag alone.
"""

import typing as tp

import numpy as np
import torch
from torch import nn

from ..dsp.randomness import generator
from ..separation.bag import BagOfModels
from ..separation.song import separate_song


def shifted(model: nn.Module, mix: torch.Tensor, *, count: int = 2, seed: int = 0, **settings: tp.Any) -> np.ndarray:
    """`count` separations of a song `mix` [A, L], stacked as float32 [count, S, A, L]. Each is one round of the shift
    trick, with a random delay of its own that depends on `seed`.

    `settings` and errors are those of `separate_song`; `shifts` must not be among them.
    """
    seeds = generator(seed, "passes over a song").integers(2 ** 31, size=count)
    return np.stack([separate_song(model, mix, shifts=1, seed=int(one), **settings).numpy() for one in seeds])


def remixed(model: nn.Module, estimates: torch.Tensor, *, seed: int = 0, **settings: tp.Any) -> np.ndarray:
    """Two passes, stacked as [2, S, A, L]: `estimates` [S, A, L], shifted in time relative to each other, and the
    model's separation of their sum.

    Source number s of S is rotated (circular shift) by s / S of the song. The separation is one round of the shift
    trick. `settings` and errors are those of `separate_song`; `shifts` must not be among them.
    """
    step = estimates.shape[-1] / len(estimates)
    moved = torch.stack([estimate.roll(round(step * number), dims=-1) for number, estimate in enumerate(estimates)])
    return np.stack([moved.numpy(), separate_song(model, moved.sum(dim=0), shifts=1, seed=seed, **settings).numpy()])


def members(model: nn.Module) -> tp.List[nn.Module]:
    """The different models of a bag; the model itself if it is not a bag."""
    return list(dict.fromkeys(model.models)) if isinstance(model, BagOfModels) else [model]


def by_members(model: nn.Module, mix: torch.Tensor, *, seed: int = 0, **settings: tp.Any) -> np.ndarray:
    """Separations [K, S, A, L] of a song `mix` [A, L] by each of the K different models of a bag, with the same shift.

    `settings` and errors are those of `separate_song`, without `shifts`.
    """
    return np.stack([separate_song(one, mix, shifts=1, seed=seed, **settings).numpy() for one in members(model)])
