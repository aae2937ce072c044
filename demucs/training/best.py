"""Selection of the best weights among the model and its averages, epoch by epoch."""

import dataclasses
import math
import typing as tp

from ..schema import EpochRecord, Metrics


@dataclasses.dataclass(frozen=True)
class Selection:
    """How candidates are compared: by `metric`, where larger is better for nsdr and smaller for losses."""
    metric: str

    def value(self, metrics: Metrics) -> float:
        return metrics[self.metric]

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is better than `b`; a value that is not finite is worse than any that is."""
        if not math.isfinite(a) or not math.isfinite(b):
            return math.isfinite(a) and not math.isfinite(b)
        return a > b if self.metric.startswith("nsdr") else a < b

    def choose(self, candidates: tp.Mapping[str, Metrics]) -> str:
        """Name of the best candidate; the first of equals."""
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
