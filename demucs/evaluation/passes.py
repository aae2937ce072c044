"""Separating a song again, to see what a model repeats and what it answers by accident.

Each function returns passes [K, S, A, L] for `metrics.quality.agreement`. Two ways of asking the same thing again:

- with the song at other places in the model's segments, as the shift trick does it (Défossez et al. 2019,
  arXiv:1911.13254);
- with a mixture made anew from the estimates, each moved in time against the others. If they were the true sources,
  this would be as good a song as the first, and a good model would take it apart into the same estimates. (Separating
  remixed estimates is how RemixIT trains without references: E. Tzinis et al., IEEE JSTSP 16(6), 2022.)
"""

import typing as tp

import numpy as np
import torch
from torch import nn

from ..dsp.randomness import generator
from ..separation.song import separate_song


def shifted(model: nn.Module, mix: torch.Tensor, *, count: int = 2, seed: int = 0, **settings: tp.Any) -> np.ndarray:
    """`count` separations [K, S, A, L] of a song `mix` [A, L], each with one shift of its own.

    `settings` and errors are those of `separate_song`, without `shifts`.
    """
    seeds = generator(seed, "passes over a song").integers(2 ** 31, size=count)
    return np.stack([separate_song(model, mix, shifts=1, seed=int(one), **settings).numpy() for one in seeds])


def remixed(model: nn.Module, estimates: torch.Tensor, *, seed: int = 0, **settings: tp.Any) -> np.ndarray:
    """Two passes [2, S, A, L]: `estimates` [S, A, L], moved against each other, and what the model makes of their sum.

    Of S sources, source number s is turned round by s / S of the song. `settings` and errors are those of
    `separate_song`, without `shifts`.
    """
    step = estimates.shape[-1] / len(estimates)
    moved = torch.stack([estimate.roll(round(step * number), dims=-1) for number, estimate in enumerate(estimates)])
    return np.stack([moved.numpy(), separate_song(model, moved.sum(dim=0), shifts=1, seed=seed, **settings).numpy()])
