"""Training objectives: the loss of a training batch, and the metrics of a validation batch."""

import dataclasses
import typing as tp

import torch
from torch import nn

from ..dsp.spectral import magnitudes
from ..errors import ConfigError
from ..metrics.nsdr import nsdr
from ..models.protocol import estimates_magnitudes
from ..separation.precision import computing_in
from .losses import KINDS as WAVEFORM_LOSSES
from .losses import SUMMED, reconstruction, weighted_mean

MAGNITUDES = "magnitude_mse"
LOSSES = (*WAVEFORM_LOSSES, MAGNITUDES)      # values of `optim.loss`
N_FFT, HOP = 4096, 1024      # of the loss of magnitudes, in samples, for models without a spectrogram like that

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


@dataclasses.dataclass(frozen=True)
class MagnitudeObjective:
    """Objective with the squared error of magnitude spectrograms, as in Open-Unmix: the mean over examples, channels,
    frequencies (all of them) and frames. The spectrograms are those of `dsp.spectral.magnitudes`.

    Args:
        targets: names of the model's outputs.
        weights: one per target, for the mean over targets.
        n_fft, hop: window length and hop in samples.
        from_model: whether the model estimates magnitudes itself, `model(mixture, magnitudes=True)` -> [B, T, A, F,
            frames]; otherwise those of its waveforms are compared.
    """
    targets: tp.Sequence[str]
    weights: tp.Sequence[float]
    n_fft: int = N_FFT
    hop: int = HOP
    from_model: bool = False

    @property
    def summed(self) -> bool:
        """False: the loss is a mean over the examples of a batch."""
        return False

    def loss(self, model: nn.Module, batch: Batch) -> tp.Tuple[torch.Tensor, Tensors]:
        """(loss, metrics) of a training batch, for which `model` is called once. The loss is the weighted mean over
        targets; it is also the metric "reco", which is given per target, too ("reco_vocals")."""
        estimates = model(batch.mixture, magnitudes=True) if self.from_model else self._magnitudes(model(batch.mixture))
        losses = self._losses(estimates, batch.targets)
        return weighted_mean(losses, self.weights), self._reported(losses.detach())

    def score(self, model: nn.Module, batch: Batch, separate: Separate) -> Tensors:
        """Scalars of a validation batch: "loss" and "reco" as in training, over the whole length of the songs, and
        "nsdr" (dB) of the estimates of `separate`, which are weighted means over targets; the last two also per
        target."""
        estimates = separate(batch.mixture)
        scores = nsdr(batch.targets, estimates).mean(0)
        if self.from_model:
            with computing_in("float32", batch.mixture.device):
                estimates = model(batch.mixture, magnitudes=True)
        else:
            estimates = self._magnitudes(estimates)
        losses = self._losses(estimates, batch.targets)
        metrics = {"loss": weighted_mean(losses, self.weights), **self._reported(losses),
                   "nsdr": weighted_mean(scores, self.weights)}
        metrics.update({f"nsdr_{name}": score for name, score in zip(self.targets, scores)})
        return metrics

    def _magnitudes(self, wav: torch.Tensor) -> torch.Tensor:
        return magnitudes(wav, n_fft=self.n_fft, hop=self.hop)

    def _losses(self, estimates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error of each target [T]. `targets` are waveforms [B, T, A, L]."""
        return (estimates - self._magnitudes(targets)).square().mean(dim=(0, 2, 3, 4))

    def _reported(self, losses: torch.Tensor) -> Tensors:
        return {"reco": weighted_mean(losses, self.weights),
                **{f"reco_{name}": value for name, value in zip(self.targets, losses)}}


def build_objective(kind: str, model: nn.Module, *, targets: tp.Sequence[str], weights: tp.Sequence[float]
                    ) -> Objective:
    """Objective of a training of `model` with the loss `kind`, one of `LOSSES`. `targets` are the names of its outputs,
    with one of `weights` each.

    Raises:
        ConfigError: if the loss does not fit the model.
    """
    if kind != MAGNITUDES:
        return WaveformObjective(kind, targets, weights)
    if not estimates_magnitudes(model):
        return MagnitudeObjective(targets, weights)
    if list(getattr(model, "targets", targets)) != list(targets):
        raise ConfigError(f"optim.loss={kind} compares the estimates of the networks, {', '.join(model.targets)}, and "
                          f"the outputs of the model are {', '.join(targets)}: use l1 or mse, or train without "
                          f"aggregate and residual")
    return MagnitudeObjective(targets, weights, n_fft=model.nfft, hop=model.nhop, from_model=True)
