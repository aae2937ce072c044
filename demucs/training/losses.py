"""Reconstruction losses in the time domain."""

import typing as tp

import torch

from ..dsp.constants import to_device
from ..errors import ConfigError

KINDS = ("l1", "mse")
SUMMED = ("mse",)   # summed over the batch instead of averaged


def reconstruction(estimates: torch.Tensor, targets: torch.Tensor, kind: str) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """(losses to minimise, values to report) of estimates [B, S, A, L] against targets of the same shape, [S] each: one
    number per source.

    "l1" (`kind`) is the mean absolute error, for both values. For "mse" the loss is the mean squared error of each
    example, summed over the batch as in published Demucs; the reported value is its root, taken per example before the
    mean over the batch.

    Raises:
        ConfigError: for another kind.
    """
    error = estimates - targets
    if kind == "l1":
        loss = error.abs().mean(dim=(0, 2, 3))
        return loss, loss
    if kind == "mse":
        per_example = error.square().mean(dim=(2, 3))
        return per_example.sum(0), per_example.sqrt().mean(0)
    raise ConfigError(f"optim.loss={kind!r} is unknown; use one of {', '.join(KINDS)}")


def weighted_mean(values: torch.Tensor, weights: tp.Sequence[float]) -> torch.Tensor:
    """Mean of `values` [S], a scalar, with one of `weights` per source, which are divided by their sum. At least one
    must be positive."""
    tensor = to_device(torch.tensor(weights, dtype=values.dtype), values.device)
    return (values * tensor).sum() / tensor.sum()
