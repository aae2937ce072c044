"""The passes of an epoch: one over the training set, and one over the validation set for each candidate."""

import contextlib
import dataclasses
import logging
import typing as tp

import torch
from torch import nn
from torch.utils.data import DataLoader

from ..data.augment import Augment
from ..data.sampler import EpochSampler
from ..data.targets import Targets
from ..dsp.randomness import generator, seeded_torch, torch_generator
from ..errors import TrainingError
from ..layers.dropout import drawn_per_example
from ..schema import Metrics
from ..separation.apply import separate
from ..separation.precision import computing_in
from .distributed import Group
from .ema import ModelEMA
from .objectives import Batch, Objective
from .optim import gradient_norm
from .precision import Precision
from .progress import Progress, describe
from .quantisation import Quantisation, rounded
from .svd import SvdSettings, svd_penalty

logger = logging.getLogger(__name__)


class Average:
    """Running mean of metrics over examples: sums (`totals`) and number of examples (`count`), those of this rank or of
    all ranks."""

    def __init__(self) -> None:
        self.totals: tp.Dict[str, float] = {}
        self.count = 0

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        """Copy of sums and number of examples, for a checkpoint."""
        return {"totals": dict(self.totals), "count": self.count}

    @classmethod
    def restored(cls, states: tp.Sequence[tp.Mapping[str, tp.Any]]) -> "Average":
        """The average over all examples of several saved averages; an empty one for none."""
        average = cls()
        for state in states:
            for key, total in state["totals"].items():
                average.totals[key] = average.totals.get(key, 0.) + total
            average.count += state["count"]
        return average

    def add(self, metrics: Metrics, count: int) -> None:
        """Add `metrics`, means over `count` examples."""
        for key, value in metrics.items():
            self.totals[key] = self.totals.get(key, 0.) + value * count
        self.count += count

    def here(self) -> Metrics:
        """Means over the examples added on this rank. Raises ZeroDivisionError if metrics were added for no
        examples."""
        return {key: total / self.count for key, total in self.totals.items()}

    def everywhere(self, group: Group) -> Metrics:
        """Means over the examples of all ranks, some of which may have none. A collective call."""
        keys: tp.List[str] = sorted(set().union(*group.gather(list(self.totals))))
        *totals, count = group.sum([*(self.totals.get(key, 0.) for key in keys), self.count])
        return {key: total / count for key, total in zip(keys, totals)}


def to_numbers(metrics: tp.Mapping[str, torch.Tensor]) -> Metrics:
    """Scalar tensors, all on one device, as Python numbers by the same names, copied in one transfer."""
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist()))


@dataclasses.dataclass
class TrainStage:
    """The pass over the training set in an epoch.

    Attributes:
        model: the model.
        wrapped: `model`, wrapped such that gradients are averaged over the group.
        optimizer: of its parameters.
        loader: yields this rank's batches of stems [b, S, A, L], drawn by `sampler`.
        augment: data augmentation of a batch on the device.
        averages: moving averages that are updated after every step.
        targets: computes the sums of stems that the model learns.
        clip_grad: largest norm of the gradient; 0 for no limit.
        prints: number of progress lines in a pass.
        track_name: maps the key of an example to the name of its track.
        quantisation: of the model, if any.
        at_once: size of a micro-batch for gradient accumulation, if memory is too small for the whole batch. An
            optimiser step is mathematically the same, but takes longer.
        precision: of the forward and backward passes.
    """
    model: nn.Module
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    loader: tp.Iterable[torch.Tensor]
    sampler: EpochSampler
    augment: Augment
    averages: tp.Sequence[ModelEMA]
    group: Group
    seed: int
    objective: Objective
    targets: Targets
    svd: SvdSettings
    clip_grad: float
    prints: int
    track_name: tp.Callable[[tp.Any], str]
    quantisation: tp.Optional[Quantisation] = None
    at_once: tp.Optional[int] = None
    precision: Precision = dataclasses.field(default_factory=Precision)

    def __post_init__(self) -> None:
        self._forward = self.precision.forward_of(self.wrapped)

    def run(self, epoch: int, *, start: int = 0, average: tp.Optional[Average] = None,
            between: tp.Callable[[int, Average], None] = lambda done, average: None) -> Metrics:
        """Train for one epoch (counted from 0), or for the rest of it after `start` steps, whose running average on
        this rank is `average`. `between(steps done, average)` is called after each step, and may end the pass by
        raising. A collective call.

        Returns:
            Means of the metrics over all examples of the epoch, on all ranks.

        Raises:
            TrainingError: if a loss or gradient is not finite; the weights are not updated by that step.
        """
        self.model.train()
        self.sampler.set_epoch(epoch, start)
        keys = list(self.sampler)
        progress: Progress[torch.Tensor] = Progress(logger, self.loader, name=f"Train | Epoch {epoch + 1}",
                                                    total=start + len(keys), prints=self.prints, first=start)
        average = average or Average()
        for step, sources in enumerate(progress, start=start):
            batch = keys[step - start]
            sources = sources.to(self.group.device, non_blocking=True)
            first = batch[0].position
            sources = self.augment(sources, epoch=epoch, step=step, first=first)
            metrics = self.step(sources, epoch=epoch, step=step, first=first,
                                names=sorted({self.track_name(key) for key in batch}))
            average.add(metrics, len(sources))
            progress.update(describe(average.here()))
            between(step + 1, average)
        return average.everywhere(self.group)

    def step(self, sources: torch.Tensor, *, epoch: int, step: int, names: tp.Sequence[str], first: int = 0) -> Metrics:
        """One optimiser step on this rank's stems [b, S, A, L], whose sums are the mixtures. Their first example is
        number `first` of the global batch, `names` are those of their tracks, for errors. With `at_once`, gradients are
        accumulated over micro-batches. A collective call.

        With a loss scale, a step whose gradients overflow is skipped: weights, optimiser and averages stay as they are,
        on all ranks.

        Returns the metrics of this rank's batch: those of the objective, "loss" and "grad" (the norm of the gradient
        before clipping), and "ms" and "penalty" if they are used; with a loss scale also "skipped", which is 1 for a
        skipped step and 0 otherwise, and then "grad" is 0. Raises TrainingError as `run`.
        """
        size = min(self.at_once or len(sources), len(sources))
        parts = sources.split(size)
        total: tp.Dict[str, torch.Tensor] = {}
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            # Gradients are all-reduced once, in the backward pass of the last micro-batch.
            together = contextlib.nullcontext() if last or self.wrapped is self.model else self.wrapped.no_sync()
            with together:
                loss, metrics = self._loss(part, len(part) / len(sources), epoch=epoch, step=step,
                                           first=first + index * size, whole=last)
                self._require_finite(loss.detach(), "loss", epoch, step, names)
                self.precision.scaled(loss).backward()
            for key, value in metrics.items():
                total[key] = total[key] + value if key in total else value
        self.precision.unscale(self.model)
        norm = gradient_norm(self.model)
        # Gradients are the same on all ranks now, so all ranks raise together, or skip the step together.
        overflow = self._overflow(norm, epoch, step)
        if not overflow:
            self._require_finite(norm, "gradient norm", epoch, step, names)
        total["grad"] = torch.zeros_like(norm) if overflow else norm
        if self.precision.loss_scale is not None:
            total["skipped"] = torch.full_like(norm, float(overflow))
        if not overflow:
            self._update()
        self.optimizer.zero_grad()
        return to_numbers(total)

    def _update(self) -> None:
        """Update weights and averages with the gradients of this step."""
        if self.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.optimizer.step()
        self.model.after_step()
        for average in self.averages:
            average.update()

    def _overflow(self, norm: torch.Tensor, epoch: int, step: int) -> bool:
        """Adapt the loss scale, if there is one. Returns whether this step is skipped, equal on all ranks."""
        scale = self.precision.loss_scale
        if scale is None:
            return False
        finite = not self._any(not bool(torch.isfinite(norm)))
        skipped = not finite and self.precision.may_skip()
        before = scale.scale
        if finite or skipped:
            scale.update(finite)
        if skipped:
            logger.info("Epoch %d, step %d: gradients overflowed at the loss scale %g, and the step was skipped; the "
                        "scale is %g now", epoch + 1, step + 1, before, scale.scale)
        return skipped

    def _loss(self, sources: torch.Tensor, share: float, *, epoch: int, step: int, first: int, whole: bool
              ) -> tp.Tuple[torch.Tensor, tp.Dict[str, torch.Tensor]]:
        """Loss and metrics of a micro-batch, which is the fraction `share` of this rank's batch. Terms that depend on
        the weights alone are added for the last micro-batch, where `whole` is True."""
        with self._seeded(epoch, step, first, len(sources)):
            loss, metrics = self.objective.loss(self._forward, Batch(sources.sum(dim=1), self.targets(sources)))
        # Gradients are averaged over ranks: a loss that is a sum over the global batch needs the factor `world_size`.
        loss = loss * (self.group.world_size if self.objective.summed else share)
        metrics = {key: value * share for key, value in metrics.items()}
        if whole and self.quantisation is not None:
            size = self.quantisation.size()
            metrics["ms"] = size.detach()
            loss = loss + self.quantisation.weight * size
        penalty = self._penalty(epoch, step) if whole else None
        if penalty is not None:
            metrics["penalty"] = penalty.detach()
            loss = loss + self.svd.penalty * penalty
        metrics["loss"] = loss.detach()
        return loss, metrics

    @contextlib.contextmanager
    def _seeded(self, epoch: int, step: int, first: int, examples: int) -> tp.Iterator[None]:
        """Context of a training forward pass with seeded random draws: the noise of quantisation, equal on all ranks,
        the dropout of LSTMs, keyed by each of the `examples`, and all other draws of the model (dropout of
        transformers, shifts of positional encodings), keyed by the first example of this rank, so that those depend on
        the number of ranks."""
        with contextlib.ExitStack() as stack:
            if self.quantisation is not None:
                stack.enter_context(self.quantisation.in_training(epoch, step))
            if self.model.draws_in_training:
                stack.enter_context(seeded_torch(self.seed, "model", epoch, step, first, device=self.group.device))
                stack.enter_context(drawn_per_example([
                    torch_generator(self.seed, "dropout", epoch, step, place, device=self.group.device)
                    for place in range(first, first + examples)]))
            yield

    def _penalty(self, epoch: int, step: int) -> tp.Optional[torch.Tensor]:
        """SVD penalty of this step, equal on all ranks; None if it is disabled."""
        if not self.svd.penalty:
            return None
        if generator(self.seed, "svd proba", epoch, step).random() >= self.svd.proba:
            return torch.zeros((), device=self.group.device)
        with seeded_torch(self.seed, "svd", epoch, step, device=self.group.device):
            return svd_penalty(self.model, self.svd)

    def _require_finite(self, value: torch.Tensor, what: str, epoch: int, step: int, names: tp.Sequence[str]) -> None:
        finite = bool(torch.isfinite(value))
        failed = self.group.gather(None if finite else list(names)) if self._any(not finite) else []
        if any(tracks is not None for tracks in failed):
            tracks = sorted({name for names in failed if names for name in names})
            raise TrainingError(
                f"the {what} is not finite in epoch {epoch + 1}, step {step + 1}; the weights were not changed. "
                f"The batch came from: {'; '.join(tracks)}. Check these files for non-finite samples; if they are "
                f"sound, lower optim.lr or set optim.clip_grad. The last checkpoint is untouched.{self.precision.advice}")

    def _any(self, condition: bool) -> bool:
        return self.group.sum([condition])[0] > 0


@dataclasses.dataclass
class ValidStage:
    """The pass over the validation set with the model's current weights.

    Attributes:
        loader: yields this rank's batches [b, 1 + S, A, L]: the mixture, then the stems.
        targets: computes the sums of stems that the model learns.
        apply: separate mixtures as `separation.apply` does, in segments with `split`; otherwise each batch is one
            forward pass.
        max_batches: largest number of batches of a rank; None for all.
        prints: number of progress lines in a pass.
        quantisation: of the model, if any; the weights are then quantised once, for the whole pass.
    """
    model: nn.Module
    loader: DataLoader
    group: Group
    seed: int
    objective: Objective
    targets: Targets
    apply: bool
    split: bool
    max_batches: tp.Optional[int]
    prints: int
    quantisation: tp.Optional[Quantisation] = None

    @torch.no_grad()
    def run(self, epoch: int, name: str, *, leave: tp.Callable[[], bool] = lambda: False) -> tp.Optional[Metrics]:
        """Validation metrics of the model's current weights, means over all examples of all ranks: loss, reco, nsdr
        (dB), and the last two per source. With quantisation also "ms", the size of the model in MiB, which is part of
        the loss as in training. The weights are called `name` in log lines; `epoch` is counted from 0. A collective
        call.

        `leave` is called after each batch, equally often on all ranks. If it returns True, which must be so on all
        ranks, the pass ends and returns None.
        """
        was_training = self.model.training
        self.model.eval()
        total = min(len(self.loader), self.max_batches or len(self.loader))
        most = int(max(self.group.gather(total)))
        progress: Progress[torch.Tensor] = Progress(logger, self.loader, name=f"Valid | Epoch {epoch + 1} | {name}",
                                                    total=total, prints=self.prints)
        size = None if self.quantisation is None else self.quantisation.size()
        average = Average()
        left = False
        with rounded(self.quantisation):
            for index, batch in enumerate(progress):
                if index == total:
                    break
                batch = batch.to(self.group.device, non_blocking=True)
                average.add(self._score(batch[:, 0], batch[:, 1:], size), len(batch))
                progress.update(describe(average.here()))
                left = leave()
                if left:
                    break
        for _ in range(total, most):             # a rank with fewer batches still takes part in every collective call
            left = left or leave()
        self.model.train(was_training)
        return None if left else average.everywhere(self.group)

    def _score(self, mix: torch.Tensor, stems: torch.Tensor, size: tp.Optional[torch.Tensor]) -> Metrics:
        metrics = self.objective.score(self.model, Batch(mix, self.targets(stems)), self._separate)
        if size is not None and self.quantisation is not None:
            metrics["ms"] = size
            metrics["loss"] = metrics["loss"] + self.quantisation.weight * size
        return to_numbers(metrics)

    def _separate(self, mix: torch.Tensor) -> torch.Tensor:
        if self.apply:
            return separate(self.model, mix, split=self.split, overlap=0, shifts=1, seed=self.seed)
        with computing_in("float32", mix.device):
            return self.model(mix)
