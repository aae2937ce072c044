"""Public door to separation of tensors: `apply_model`, with the arguments of published Demucs."""

import logging
import typing as tp

import torch
from torch import nn

from .inference.apply import ChunkEvent, separate
from .inference.progress import reporter

logger = logging.getLogger(__name__)

__all__ = ["apply_model"]


def apply_model(model: nn.Module, mix: torch.Tensor, shifts: int = 1, split: bool = True, overlap: float = 0.25,
                transition_power: float = 1., progress: bool = False,
                device: tp.Union[None, str, torch.device] = None, num_workers: int = 0,
                segment: tp.Optional[float] = None, *, seed: int = 0) -> torch.Tensor:
    """Estimates [B, S, A, L] of the sources in `mix` [B, A, L].

    As in published Demucs, computing is on the device of `mix` where `device` is not given; unlike there, the model
    comes back to its own device and training mode, and the random shifts follow from `seed`. See
    `inference.apply.separate` for the other arguments and the errors.
    """
    report: tp.Optional[tp.Callable[[ChunkEvent], None]] = reporter(logger, "separating") if progress else None
    return separate(model, mix, shifts=shifts, split=split, overlap=overlap, transition_power=transition_power,
                    segment=segment, device=mix.device if device is None else device, seed=seed, progress=report,
                    workers=num_workers)
