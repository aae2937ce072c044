"""Selection of the best weights among the model and its averages, epoch by epoch."""

import dataclasses
import math
import typing as tp

from ..errors import TrainingError
from ..schema import EpochRecord, Metrics


@dataclasses.dataclass(frozen=True)
class Selection:
    """Comparison of candidate weights by a validation metric: larger is better for nSDR, smaller for losses."""
    metric: str

    def value(self, metrics: Metrics) -> float:
        return metrics[self.metric]

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is better than `b`; a value that is not finite is worse than any that is."""
        if not math.isfinite(a) or not math.isfinite(b):
            return math.isfinite(a) and not math.isfinite(b)
        return a > b if self.metric.startswith("nsdr") else a < b

    def choose(self, candidates: tp.Mapping[str, Metrics]) -> str:
        """Name of the best candidate. Of equal ones, the first."""
        names = list(candidates)
        chosen = names[0]
        for name in names[1:]:
            if self.better(self.value(candidates[name]), self.value(candidates[chosen])):
                chosen = name
        return chosen

    def best_so_far(self, history: tp.Sequence[EpochRecord], current: float) -> float:
        best = current
        for record in history:
            value = self.value(record.valid)
            if self.better(value, best):
                best = value
        return best

    def require_finite(self, value: float, candidates: tp.Iterable[str], epoch: int) -> None:
        """Check the best value of an epoch (counted from 0). Raises TrainingError if it is not finite."""
        if not math.isfinite(value):
            raise TrainingError(f"after epoch {epoch + 1} the validation {self.metric} is not finite for any of "
                                f"{', '.join(candidates)}: the model diverged, or a validation track is not finite. Lower "
                                f"optim.lr or set optim.clip_grad. The last checkpoint is untouched.")

    def best_epoch(self, history: tp.Sequence[EpochRecord]) -> int:
        """Number of the last epoch whose value was the best so far, counted from 1; 0 without epochs."""
        return max((number for number, record in enumerate(history, start=1)
                    if self.value(record.valid) == record.best), default=0)

    def loss(self, metrics: Metrics) -> float:
        """The value, negated for nSDR, so that smaller is better."""
        value = self.value(metrics)
        return -value if self.metric.startswith("nsdr") else value

    def stagnant(self, history: tp.Sequence[EpochRecord]) -> int:
        """Number of epochs since the best one."""
        best = 0
        for index, record in enumerate(history):
            if self.better(self.value(record.valid), self.value(history[best].valid)):
                best = index
        return len(history) - 1 - best if history else 0


def enough(history: tp.Sequence[EpochRecord], selection: Selection, *, epochs: int, patience: tp.Optional[int]) -> bool:
    """Whether a training is finished: it has all `epochs`, or no improvement in the last `patience` ones (early
    stopping; None: no early stopping)."""
    return len(history) >= epochs or selection.stagnant(history) >= (patience or math.inf)
