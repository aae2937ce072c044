"""Numbers of a training step on their way to the host.

On a CPU they are read within the step. On a GPU the host would wait there for the whole step, and the GPU afterwards
for the host, which queues the next one: the numbers are copied without waiting, and read one step later. A step that is
not finite is then skipped on the device, as are all after it, until the host has read its report.
"""

import dataclasses
import typing as tp

import torch
from torch import distributed

from ..dsp.constants import to_device
from ..schema import Metrics
from .distributed import Group

LOSS, NORM = range(2)                      # the first of the sums over ranks
FAULTS = ("loss", "gradient norm")         # what is not finite then


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
class Report:
    """Numbers of a step.

    Attributes:
        metrics: of this rank's batch.
        here: whether this rank has a loss, and a gradient norm, that is not finite: 1 if so, else 0.
        sums: the same summed over all ranks, and then the sums of numbers that were given besides.
    """
    metrics: Metrics
    here: tp.Sequence[float]
    sums: tp.Sequence[float]


def summed_here(finite: tp.Sequence[torch.Tensor], more: tp.Sequence[float], group: Group
                ) -> tp.Tuple[tp.Sequence[float], tp.Sequence[float]]:
    """`Report.here` and `Report.sums` on the host, which waits for the device. `finite` are booleans, scalars: whether
    the loss and the gradient norm of this rank are finite. Collective."""
    here = [not value for value in torch.stack(list(finite)).tolist()]
    return here, group.sum([*here, *more])


def summed_on_device(finite: tp.Sequence[torch.Tensor], more: tp.Sequence[float], group: Group
                     ) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """`Report.here` and `Report.sums` as float32 on the device, without waiting. Collective."""
    here = torch.stack(list(finite)).logical_not().float()
    given = to_device(torch.tensor([float(value) for value in more]), here.device)
    sums = torch.cat([here, given])
    if group.world_size > 1:
        distributed.all_reduce(sums)
    return here, sums


class Copied:
    """Report that is copied from the device while the host goes on. `metrics` are float32 scalars, `here` and `sums`
    those of `summed_on_device`."""

    def __init__(self, metrics: tp.Mapping[str, torch.Tensor], here: torch.Tensor, sums: torch.Tensor):
        self._names = list(metrics)
        values = torch.cat([torch.stack([value.float() for value in metrics.values()]), here, sums])
        self._values = values.to("cpu", non_blocking=True)         # page-locked memory
        self._copied = None
        if values.device.type == "cuda":
            self._copied = torch.cuda.current_stream(values.device).record_event()

    def read(self) -> Report:
        """The report; waits until the step is done."""
        if self._copied is not None:
            self._copied.synchronize()
        values = self._values.tolist()
        numbers, rest = values[:len(self._names)], values[len(self._names):]
        return Report(dict(zip(self._names, numbers)), rest[:len(FAULTS)], rest[len(FAULTS):])
