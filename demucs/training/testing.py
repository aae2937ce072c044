"""Tests during and after training: the selected weights on the test songs."""

import dataclasses
import logging
import typing as tp
from pathlib import Path

from torch import nn

from ..evaluation.evaluate import estimate_path, evaluate_tracks
from ..evaluation.tracks import ReferenceTrack
from ..metrics.aggregates import history_aggregates
from ..schema import Metrics, TrackScores
from .distributed import Group
from .quantisation import Quantisation, rounded

logger = logging.getLogger(__name__)

Tested = tp.Dict[str, TrackScores]


class _InMemory:
    """What `TrackFiles` is for an evaluation of its own: `tested` goes into the checkpoint."""

    def __init__(self, tested: Tested):
        self.tested = tested

    def find(self, name: str, fingerprint: tp.Optional[str] = None, estimates: tp.Optional[str] = None
             ) -> tp.Tuple[tp.Optional[TrackScores], str]:
        return self.tested.get(name), ""

    def add(self, scores: TrackScores, *, created: str) -> None:
        self.tested[scores.name] = scores


@dataclasses.dataclass
class TestStage:
    """nSDR on every test, and those of BSSEval after the last epoch where `sdr` is set.

    `tracks` are shared over the group. With `save_to`, the separated tracks are kept there. A model that is trained for
    quantisation is quantised for it.
    """
    model: nn.Module
    tracks: tp.Sequence[ReferenceTrack]
    group: Group
    seed: int
    shifts: int
    overlap: float
    split: bool
    sdr: bool
    save_to: tp.Optional[Path]
    quantisation: tp.Optional[Quantisation] = None

    def run(self, is_last: bool, *, tested: tp.Optional[Tested] = None,
            leave: tp.Callable[[], bool] = lambda: False) -> tp.Optional[Metrics]:
        """Flat aggregates as `schema.EpochRecord` describes them.

        Tracks that are in `tested` are not tested again, and those that are come into it. `leave` is called equally often
        on all ranks, after each track; where it answers yes, on all ranks alike, the pass ends without a result (None).
        """
        tested = {} if tested is None else tested
        metrics = ("nsdr", "bsseval") if self.sdr and is_last else ("nsdr",)
        for name in [name for name, scores in tested.items() if not self._counts(scores, "bsseval" in metrics)]:
            del tested[name]
        logger.info("Testing on %d tracks...", len(self.tracks))
        was_training = self.model.training
        self.model.eval()
        ranks = self.group.world_size
        left = [sum(track.name not in known for track in self.tracks[rank::ranks])
                for rank, known in enumerate(self.group.gather(set(tested)))]
        asked: tp.List[bool] = [False]

        def stop() -> bool:
            asked[0] = asked[0] or leave()
            return asked[0]
        with rounded(self.quantisation):
            mine = evaluate_tracks(
                self.model, self.tracks, metrics=metrics, shifts=self.shifts, overlap=self.overlap, split=self.split,
                seed=self.seed, save_to=self.save_to, files=_InMemory(tested), rank=self.group.rank, world_size=ranks,
                stop=stop)
        for _ in range(max(left) - left[self.group.rank]):      # a rank with less to do still takes part in agreements
            stop()
        self.model.train(was_training)
        if asked[0]:
            return None
        scores = [track for part in self.group.gather(mine) for track in part]
        return history_aggregates(scores, self.model.sources)

    def _counts(self, scores: TrackScores, frames: bool) -> bool:
        """Whether scores of before are all that is wanted now: a run that was stopped in its last test may go on for more
        epochs, and estimates may have been removed."""
        saved = self.save_to is None or all(estimate_path(self.save_to, scores.name, source).exists()
                                            for source in self.model.sources)
        return saved and bool(scores.frames) == frames
