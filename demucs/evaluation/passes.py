"""Repeated separations of a song, to measure how consistent a model's estimates are.

Each function returns passes [K, S, A, L] for `metrics.quality.agreement`. There are two kinds of repetition:

- the song is shifted relative to the model's segments, as in the shift trick (Défossez et al. 2019, arXiv:1911.13254);
- the estimates are shifted in time relative to each other and mixed again. If they were the true sources, the remix
  would be as good a song as the original, and a good model would separate it into the same estimates. (RemixIT trains
  without references on remixed estimates: E. Tzinis et al., IEEE JSTSP 16(6), 2022.)
"""

import typing as tp

import numpy as np
import torch
from torch import nn

from ..dsp.randomness import generator
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
