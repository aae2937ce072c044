"""The pass over the validation set, for each candidate for the best weights."""

import dataclasses
import logging
import typing as tp

import torch
from torch import nn
from torch.utils.data import DataLoader

from ..data.targets import Targets
from ..schema import Metrics
from ..separation.apply import separate
from ..separation.precision import computing_in
from .distributed import Group
from .objectives import Batch, Objective
from .progress import Progress, describe
from .quantisation import Quantisation, rounded
from .reports import Average, to_numbers

logger = logging.getLogger(__name__)


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
