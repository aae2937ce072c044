"""Reconstruction losses in the time domain."""

import typing as tp

import torch

from ..errors import ConfigError

KINDS = ("l1", "mse")
SUMMED = ("mse",)   # summed over the batch instead of averaged


def reconstruction(estimates: torch.Tensor, targets: torch.Tensor, kind: str) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """Per-source losses of estimates against targets [B, S, A, L]: (loss to minimise, value to report), each [S].

    "l1" is the mean absolute error, for both values. For "mse" the loss is the mean squared error of each example,
    summed over the batch as in published Demucs; the reported value is its root, taken per example before the mean over
    the batch.
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
    """Mean of [S] values with one weight per source. At least one weight must be positive."""
    tensor = torch.tensor(weights, dtype=values.dtype, device=values.device)
    return (values * tensor).sum() / tensor.sum()
