"""How far an epoch has come, between two steps: what a checkpoint holds beside the registered state."""

import dataclasses
import typing as tp

from ..schema import Metrics, TrackScores
from .distributed import Group
from .stages import Average
from .state import random_states, set_random_states
from .testing import Tested


@dataclasses.dataclass
class Position:
    """Steps done, their metrics on this rank, seconds spent on them in all sessions; once all steps are done, the metrics of
    the whole pass (then averages over epochs are updated, too), and those of every candidate that is validated; then the
    scores of the songs that are tested, on this rank or before."""
    step: int = 0
    average: Average = dataclasses.field(default_factory=Average)
    seconds: float = 0.
    trained: tp.Optional[Metrics] = None
    candidates: tp.Dict[str, Metrics] = dataclasses.field(default_factory=dict)
    tested: Tested = dataclasses.field(default_factory=dict)

    def entries(self, group: Group) -> tp.Dict[str, tp.Any]:
        """The entries of a checkpoint, from what each rank has of them. All ranks call this together."""
        tested = {name: dataclasses.asdict(scores) for name, scores in self.tested.items()}
        ranks = group.gather((random_states(group.device), self.average.state_dict(), tested))
        return {"random_states": [states for states, *_ in ranks],
                "position": {"step": self.step, "averages": [average for _, average, _ in ranks],
                             "seconds": self.seconds, "trained": self.trained, "candidates": self.candidates,
                             "tested": {name: scores for *_, own in ranks for name, scores in own.items()}}}

    @classmethod
    def restored(cls, package: tp.Mapping[str, tp.Any], group: Group) -> "Position":
        """This rank's position in a checkpoint; those of published Demucs stand between epochs. Sets the generators of
        this process, too, where their states are there."""
        states = package.get("random_states", [])
        if group.rank < len(states):
            set_random_states(states[group.rank], group.device)
        saved = package.get("position")
        if not saved:
            return cls()
        averages = saved["averages"]
        if len(averages) == group.world_size:
            own = averages[group.rank:group.rank + 1]
        else:                                    # another number of ranks: the first one counts for all
            own = averages if group.is_first else []
        tested = {name: TrackScores(**scores) for name, scores in saved.get("tested", {}).items()}
        return cls(saved["step"], Average.restored(own), saved["seconds"], saved["trained"], dict(saved["candidates"]),
                   tested)
