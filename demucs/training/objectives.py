"""What a model is trained for: the loss of a batch, and the scores of a validation batch."""

import dataclasses
import typing as tp

import torch
from torch import nn

from ..metrics.nsdr import nsdr
from .losses import SUMMED, reconstruction, weighted_mean

Tensors = tp.Dict[str, torch.Tensor]
Separate = tp.Callable[[torch.Tensor], torch.Tensor]


class Batch(tp.NamedTuple):
    """Examples: `mixture` [B, A, L] and `targets` [B, T, A, L] of what the model puts out."""
    mixture: torch.Tensor
    targets: torch.Tensor


class Objective(tp.Protocol):
    """How the output of a model is compared with targets.

    Attributes:
        summed: whether the loss adds up over the examples of a batch, rather than being their mean.
    """

    @property
    def summed(self) -> bool:
        ...

    def loss(self, model: nn.Module, batch: Batch) -> tp.Tuple[torch.Tensor, Tensors]:
        """(loss, metrics): a scalar to minimise, and scalars to report, means over the batch without gradients.

        `model` is called once, as a module: it may be wrapped for training in parallel.
        """
        ...

    def score(self, model: nn.Module, batch: Batch, separate: Separate) -> Tensors:
        """Scalars "loss", "reco" and "nsdr" of a validation batch, and the last two per target ("nsdr_vocals").

        `separate` makes estimates [B, T, A, L] of mixtures [B, A, L] as the settings of validation say. `model` is there for
        objectives that need what comes before the estimates.
        """
        ...


@dataclasses.dataclass(frozen=True)
class WaveformObjective:
    """L1 or squared error of the waveforms, as in published Demucs: `kind` of `losses.reconstruction`, with one weight per
    target."""
    kind: str
    targets: tp.Sequence[str]
    weights: tp.Sequence[float]

    @property
    def summed(self) -> bool:
        return self.kind in SUMMED

    def loss(self, model: nn.Module, batch: Batch) -> tp.Tuple[torch.Tensor, Tensors]:
        losses, reported = reconstruction(model(batch.mixture), batch.targets, self.kind)
        reported = reported.detach()
        metrics = {"reco": weighted_mean(reported, self.weights)}
        for name, value in zip(self.targets, reported):
            metrics[f"reco_{name}"] = value
        return weighted_mean(losses, self.weights), metrics

    def score(self, model: nn.Module, batch: Batch, separate: Separate) -> Tensors:
        estimates = separate(batch.mixture)
        losses, reported = reconstruction(estimates, batch.targets, self.kind)
        losses = losses / len(batch.mixture) if self.summed else losses      # whatever the batch, the mean over examples
        scores = nsdr(batch.targets, estimates).mean(0)
        metrics = {"loss": weighted_mean(losses, self.weights), "reco": weighted_mean(reported, self.weights),
                   "nsdr": weighted_mean(scores, self.weights)}
        for name, value, score in zip(self.targets, reported, scores):
            metrics[f"reco_{name}"] = value
            metrics[f"nsdr_{name}"] = score
        return metrics
