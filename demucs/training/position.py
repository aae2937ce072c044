"""Progress within an epoch: what a checkpoint holds in addition to the registered state."""

import dataclasses
import typing as tp

from ..schema import Metrics, TrackScores
from .distributed import Group
from .reports import Average
from .state import random_states, set_random_states
from .testing import Tested


@dataclasses.dataclass
class Position:
    """Progress within an epoch, as a rank keeps it for its next checkpoint.

    Attributes:
        step: number of training steps done.
        average: running average of their metrics on this rank.
        seconds: time spent on training steps in this epoch, in all sessions.
        trained: metrics of the whole training pass; None until it is complete (averages over epochs are updated then,
            too).
        candidates: validation metrics of the candidate weights validated so far, by name.
        tested: scores of the songs tested so far, on this rank or in earlier sessions, by name of song.
    """
    step: int = 0
    average: Average = dataclasses.field(default_factory=Average)
    seconds: float = 0.
    trained: tp.Optional[Metrics] = None
    candidates: tp.Dict[str, Metrics] = dataclasses.field(default_factory=dict)
    tested: Tested = dataclasses.field(default_factory=dict)

    def entries(self, group: Group) -> tp.Dict[str, tp.Any]:
        """Entries "position" and "random_states" of a checkpoint, with the averages, generator states and test scores
        of all ranks. A collective call."""
        tested = {name: dataclasses.asdict(scores) for name, scores in self.tested.items()}
        ranks = group.gather((random_states(group.device), self.average.state_dict(), tested))
        return {"random_states": [states for states, *_ in ranks],
                "position": {"step": self.step, "averages": [average for _, average, _ in ranks],
                             "seconds": self.seconds, "trained": self.trained, "candidates": self.candidates,
                             "tested": {name: scores for *_, own in ranks for name, scores in own.items()}}}

    @classmethod
    def restored(cls, package: tp.Mapping[str, tp.Any], group: Group) -> "Position":
        """This rank's position from `package`, the entries of a checkpoint; the start of an epoch if it has none, as
        those of published Demucs. Also restores the global random generators of this process, if the checkpoint has
        their states. With another number of ranks than before, rank 0 takes over the averages of all."""
        states = package.get("random_states", [])
        if group.rank < len(states):
            set_random_states(states[group.rank], group.device)
        saved = package.get("position")
        if not saved:
            return cls()
        averages = saved["averages"]
        if len(averages) == group.world_size:
            own = averages[group.rank:group.rank + 1]
        else:                                    # the number of ranks has changed: rank 0 takes all averages
            own = averages if group.is_first else []
        tested = {name: TrackScores(**scores) for name, scores in saved.get("tested", {}).items()}
        return cls(saved["step"], Average.restored(own), saved["seconds"], saved["trained"], dict(saved["candidates"]),
                   tested)
