"""The pass of an epoch over the training set."""

import collections
import contextlib
import dataclasses
import functools
import logging
import typing as tp

import torch
from torch import nn

from ..data.augment import Augment
from ..data.sampler import EpochSampler
from ..data.targets import Targets
from ..dsp.randomness import generator, seeded_torch, torch_generator
from ..errors import TrainingError
from ..layers.dropout import drawn_per_example
from ..schema import Metrics
from .distributed import Group
from .ema import ModelEMA
from .objectives import Batch, Objective
from .optim import gradient_norm
from .precision import Precision
from .progress import Progress, describe
from .quantisation import Quantisation
from .reports import FAULTS, LOSS, NORM, Average, Copied, Report, summed_here, summed_on_device, to_numbers
from .svd import SvdSettings, shared_svd_penalty, svd_penalty

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class _Step:
    """Step that was queued on the device: number `number` of its epoch (both counted from 0), on `examples` examples of
    the tracks `names`."""
    epoch: int
    number: int
    names: tp.Sequence[str]
    examples: int
    report: tp.Union[Report, Copied, None] = None


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
        late: read the numbers of a step once the next one is queued, see `reports`; the optimiser must be a fused one.
            By default so on GPUs, but for a loss scale, which the host adapts to each step.
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
    late: tp.Optional[bool] = None

    def __post_init__(self) -> None:
        self._forward = self.precision.forward_of(self.wrapped)
        if self.late is None:
            self.late = self.group.device.type != "cpu" and self.precision.loss_scale is None
        self._fault: tp.Optional[torch.Tensor] = None      # with `late`: 1. once a step was not finite, else 0.

    def run(self, epoch: int, *, start: int = 0, average: tp.Optional[Average] = None,
            between: tp.Callable[[int, Average, tp.Sequence[float]], None] = lambda done, average, answers: None,
            asking: tp.Callable[[int], tp.Sequence[float]] = lambda done: ()) -> Metrics:
        """Train for one epoch (counted from 0), or for the rest of it after `start` steps, whose running average on
        this rank is `average`. A collective call.

        `asking(steps done)` gives numbers that are summed over all ranks in each step. `between(steps done, average,
        sums)` is called after each step with these sums, and may end the pass by raising. With `late`, it is called for
        a step when the next one is queued, but if any of the sums is not 0, then for that one, too, and the sums are
        added: so the weights are always those after `steps done` where a sum is not 0.

        Returns:
            Means of the metrics over all examples of the epoch, on all ranks.

        Raises:
            TrainingError: if a loss or gradient is not finite; the weights are not updated by that step, nor by the
                one that may be queued behind it.
        """
        self.model.train()
        self.sampler.set_epoch(epoch, start)
        keys = list(self.sampler)
        progress: Progress[torch.Tensor] = Progress(logger, self.loader, name=f"Train | Epoch {epoch + 1}",
                                                    total=start + len(keys), prints=self.prints, first=start)
        average = average or Average()
        queued: tp.Deque[_Step] = collections.deque()

        def read(most: int) -> None:
            """Read reports until at most `most` steps are queued; all, if a sum is not 0."""
            answers: tp.Sequence[float] = ()
            while len(queued) > most:
                step = queued.popleft()
                report = self._read(step)
                sums = report.sums[NORM + 1:]
                answers = [sum(pair) for pair in zip(answers, sums)] if answers else sums
                most = 0 if any(answers) else most
                average.add(report.metrics, step.examples)
                progress.update(describe(average.here()))
                between(step.number + 1, average, answers if not queued or not any(answers) else [0.] * len(answers))
        for step, sources in enumerate(progress, start=start):
            batch = keys[step - start]
            sources = sources.to(self.group.device, non_blocking=True)
            first = batch[0].position
            sources = self.augment(sources, epoch=epoch, step=step, first=first)
            queued.append(self._queue(sources, epoch=epoch, step=step, first=first,
                                      names=sorted({self.track_name(key) for key in batch}),
                                      more=functools.partial(asking, step + 1)))
            read(int(bool(self.late)))
        read(0)
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
        return self._read(self._queue(sources, epoch=epoch, step=step, names=names, first=first)).metrics

    def _queue(self, sources: torch.Tensor, *, epoch: int, step: int, names: tp.Sequence[str], first: int = 0,
               more: tp.Callable[[], tp.Sequence[float]] = tuple) -> _Step:
        """The step of `step`, whose report has the sums over all ranks of what `more()` returns after the backward
        pass. With `late` the host does not wait for the device, and the report has to be read. Otherwise it is read
        here, before the weights change."""
        size = min(self.at_once or len(sources), len(sources))
        parts = sources.split(size)
        total: tp.Dict[str, torch.Tensor] = {}
        finite = []
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            # Gradients are all-reduced once, in the backward pass of the last micro-batch.
            together = contextlib.nullcontext() if last or self.wrapped is self.model else self.wrapped.no_sync()
            with together:
                loss, metrics = self._loss(part, len(part) / len(sources), epoch=epoch, step=step,
                                           first=first + index * size, whole=last)
                finite.append(torch.isfinite(loss.detach()))
                self.precision.scaled(loss).backward()
            for key, value in metrics.items():
                total[key] = total[key] + value if key in total else value
        self.precision.unscale(self.model)
        total["grad"] = norm = gradient_norm(self.model)
        queued = _Step(epoch, step, names, len(sources))
        both = torch.stack(finite).all(), torch.isfinite(norm)
        if self.late:
            here, sums = summed_on_device(both, more(), self.group)
            fault = sums[:NORM + 1].sum().clamp(max=1)
            # Kept for all further steps: the next one is queued before the host knows of a fault.
            self._fault = fault if self._fault is None else torch.maximum(self._fault, fault)
            setattr(self.optimizer, "found_inf", self._fault)      # as torch.amp.GradScaler tells fused optimisers
            self._update(norm)
            queued.report = Copied(total, here, sums)
        else:
            here, sums = summed_here(both, more(), self.group)
            self._require_finite(LOSS, here, sums, queued)
            overflow = self._overflow(sums[NORM] > 0, epoch, step)
            if overflow:
                total["grad"] = torch.zeros_like(norm)
            else:
                self._require_finite(NORM, here, sums, queued)
                self._update(norm)
            if self.precision.loss_scale is not None:
                total["skipped"] = torch.full_like(norm, float(overflow))
            queued.report = Report(to_numbers(total), here, sums)
        self.optimizer.zero_grad()
        return queued

    def _read(self, step: _Step) -> Report:
        """Report of a step that was queued. A collective call if it was not finite, which is a TrainingError."""
        if isinstance(step.report, Copied):
            step.report = step.report.read()
            for kind in (LOSS, NORM):
                self._require_finite(kind, step.report.here, step.report.sums, step)
        assert step.report is not None
        return step.report

    def _update(self, norm: torch.Tensor) -> None:
        """Update weights and averages with the gradients of this step, whose norm is `norm`."""
        if self.clip_grad:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.clip_grad, norm)
        self.optimizer.step()
        self.model.after_step()
        for average in self.averages:
            average.update()

    def _overflow(self, found: bool, epoch: int, step: int) -> bool:
        """Adapt the loss scale, if there is one, to whether an overflow was `found` on any rank. Returns whether this
        step is skipped."""
        scale = self.precision.loss_scale
        if scale is None:
            return False
        skipped = found and self.precision.may_skip()
        before = scale.scale
        if not found or skipped:
            scale.update(not found)
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
        """SVD penalty of this step; None if it is disabled. On CPUs it is equal on all ranks, on GPUs a part of it, and
        the mean over ranks is the penalty."""
        if not self.svd.penalty:
            return None
        if generator(self.seed, "svd proba", epoch, step).random() >= self.svd.proba:
            return torch.zeros((), device=self.group.device)
        if self.group.device.type != "cpu":
            return shared_svd_penalty(self.model, self.svd, self.group, lambda place: seeded_torch(
                self.seed, "svd", epoch, step, place, device=self.group.device))
        with seeded_torch(self.seed, "svd", epoch, step, device=self.group.device):
            return svd_penalty(self.model, self.svd)

    def _require_finite(self, kind: int, here: tp.Sequence[float], sums: tp.Sequence[float], step: _Step) -> None:
        """A TrainingError on all ranks if any has a fault of this `kind`, which names the tracks of those that have.
        `here` and `sums` are those of a `Report`. Collective if there is a fault."""
        if not sums[kind]:
            return
        failed = self.group.gather(list(step.names) if here[kind] else None)
        tracks = sorted({name for names in failed if names for name in names})
        raise TrainingError(
            f"the {FAULTS[kind]} is not finite in epoch {step.epoch + 1}, step {step.number + 1}; the weights were not "
            f"changed. The batch came from: {'; '.join(tracks)}. Check these files for non-finite samples; if they are "
            f"sound, lower optim.lr or set optim.clip_grad. The last checkpoint is untouched.{self.precision.advice}")
