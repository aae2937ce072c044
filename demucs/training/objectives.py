"""Training objectives: the loss of a training batch, and the metrics of a validation batch."""

import dataclasses
import typing as tp

import torch
from torch import nn

from ..metrics.nsdr import nsdr
from .losses import SUMMED, reconstruction, weighted_mean

Tensors = tp.Dict[str, torch.Tensor]
Separate = tp.Callable[[torch.Tensor], torch.Tensor]


class Batch(tp.NamedTuple):
    """Batch of examples: `mixture` [B, A, L], and `targets` [B, T, A, L], the references of the model's T outputs."""
    mixture: torch.Tensor
    targets: torch.Tensor


class Objective(tp.Protocol):
    """Interface of training objectives, which compare a model's output with the targets.

    Attributes:
        summed: whether the loss is a sum over the examples of a batch rather than a mean.
    """

    @property
    def summed(self) -> bool:
        """Whether the loss is a sum over the examples of a batch rather than a mean."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> tp.Tuple[torch.Tensor, Tensors]:
        """(loss, metrics): a scalar to minimise, and scalars to report, which are means over the batch without
        gradients.

        `model` is called once, as a module, since it may be wrapped in DistributedDataParallel.
        """
        ...

    def score(self, model: nn.Module, batch: Batch, separate: Separate) -> Tensors:
        """Scalars "loss", "reco" and "nsdr" (dB) of a validation batch, means over its examples, and the last two per
        target ("nsdr_vocals").

        `separate` computes estimates [B, T, A, L] from mixtures [B, A, L] with the settings of validation. `model` is
        an argument for objectives that need more than its estimates.
        """
        ...


@dataclasses.dataclass(frozen=True)
class WaveformObjective:
    """Objective with the L1 or squared error of the waveforms, as in published Demucs.

    Args:
        kind: "l1" or "mse", see `losses.reconstruction`.
        targets: names of the model's outputs.
        weights: one per target, for the mean over targets.
    """
    kind: str
    targets: tp.Sequence[str]
    weights: tp.Sequence[float]

    @property
    def summed(self) -> bool:
        """Whether the loss is a sum over the examples of a batch, as for "mse"."""
        return self.kind in SUMMED

    def loss(self, model: nn.Module, batch: Batch) -> tp.Tuple[torch.Tensor, Tensors]:
        """(loss, metrics) of a training batch, for which `model` is called once: weighted means over targets of the
        loss and, as "reco", of the reported value, which is also given per target ("reco_vocals")."""
        losses, reported = reconstruction(model(batch.mixture), batch.targets, self.kind)
        reported = reported.detach()
        metrics = {"reco": weighted_mean(reported, self.weights)}
        for name, value in zip(self.targets, reported):
            metrics[f"reco_{name}"] = value
        return weighted_mean(losses, self.weights), metrics

    def score(self, model: nn.Module, batch: Batch, separate: Separate) -> Tensors:
        """Scalars of a validation batch: weighted means over targets "loss" (per example), "reco" and "nsdr" (dB), and
        the last two per target ("nsdr_vocals"). Estimates come from `separate`; `model` is not used."""
        estimates = separate(batch.mixture)
        losses, reported = reconstruction(estimates, batch.targets, self.kind)
        losses = losses / len(batch.mixture) if self.summed else losses      # a mean over examples, for any batch size
        scores = nsdr(batch.targets, estimates).mean(0)
        metrics = {"loss": weighted_mean(losses, self.weights), "reco": weighted_mean(reported, self.weights),
                   "nsdr": weighted_mean(scores, self.weights)}
        for name, value, score in zip(self.targets, reported, scores):
            metrics[f"reco_{name}"] = value
            metrics[f"nsdr_{name}"] = score
        return metrics
