"""Selection of the best weights among the model and its averages, epoch by epoch."""

import dataclasses
import math
import typing as tp

from ..errors import TrainingError
from ..schema import EpochRecord, Metrics


@dataclasses.dataclass(frozen=True)
class Selection:
    """Comparison of candidate weights by the validation metric `metric`. Larger is better for names that begin with
    "nsdr", smaller for all others, which are losses."""
    metric: str

    def value(self, metrics: Metrics) -> float:
        """Value of the selection metric in `metrics`."""
        return metrics[self.metric]

    def better(self, a: float, b: float) -> bool:
        """Whether value `a` is strictly better than `b`. A value that is not finite is worse than any that is, and none
        is better than another of these."""
        if not math.isfinite(a) or not math.isfinite(b):
            return math.isfinite(a) and not math.isfinite(b)
        return a > b if self.metric.startswith("nsdr") else a < b

    def choose(self, candidates: tp.Mapping[str, Metrics]) -> str:
        """Name of the candidate with the best value in `candidates`, {name: its validation metrics}. Of equal ones, the
        first."""
        names = list(candidates)
        chosen = names[0]
        for name in names[1:]:
            if self.better(self.value(candidates[name]), self.value(candidates[chosen])):
                chosen = name
        return chosen

    def best_so_far(self, history: tp.Sequence[EpochRecord], current: float) -> float:
        """Best value among `current`, that of the present epoch, and those of the epochs in `history`."""
        best = current
        for record in history:
            value = self.value(record.valid)
            if self.better(value, best):
                best = value
        return best

    def require_finite(self, value: float, candidates: tp.Iterable[str], epoch: int) -> None:
        """Check that `value`, the best one of epoch `epoch` (counted from 0), is finite. `candidates` are the names of
        the weights it was chosen from.

        Raises:
            TrainingError: if it is not.
        """
        if not math.isfinite(value):
            raise TrainingError(f"after epoch {epoch + 1} the validation {self.metric} is not finite for any of "
                                f"{', '.join(candidates)}: the model diverged, or a validation track is not finite. Lower "
                                f"optim.lr or set optim.clip_grad. The last checkpoint is untouched.")

    def best_epoch(self, history: tp.Sequence[EpochRecord]) -> int:
        """Number of the epoch with the best value, counted from 1; of equal ones, the last. 0 without epochs."""
        return max((number for number, record in enumerate(history, start=1)
                    if self.value(record.valid) == record.best), default=0)

    def loss(self, metrics: Metrics) -> float:
        """Value of the selection metric in `metrics`, negated for nSDR, so that smaller is always better."""
        value = self.value(metrics)
        return -value if self.metric.startswith("nsdr") else value

    def stagnant(self, history: tp.Sequence[EpochRecord]) -> int:
        """Number of epochs after the first one with the best value; 0 without epochs."""
        best = 0
        for index, record in enumerate(history):
            if self.better(self.value(record.valid), self.value(history[best].valid)):
                best = index
        return len(history) - 1 - best if history else 0


def enough(history: tp.Sequence[EpochRecord], selection: Selection, *, epochs: int, patience: tp.Optional[int]) -> bool:
    """Whether a training with the epochs of `history` is finished: it has all `epochs`, or the best value of
    `selection` is at least `patience` epochs old (early stopping; None or 0: no early stopping)."""
    return len(history) >= epochs or selection.stagnant(history) >= (patience or math.inf)
