"""Tests during and after training: scores of the selected weights on the test songs."""

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
    """Replacement of `TrackFiles` for tests during training: scores are kept in `tested`, which checkpoints hold."""

    def __init__(self, tested: Tested):
        self.tested = tested

    def find(self, name: str, fingerprint: tp.Optional[str] = None, estimates: tp.Optional[str] = None
             ) -> tp.Tuple[tp.Optional[TrackScores], str]:
        return self.tested.get(name), ""

    def add(self, scores: TrackScores, *, created: str) -> None:
        self.tested[scores.name] = scores


@dataclasses.dataclass
class TestStage:
    """The test pass over `tracks`, which are distributed over the ranks: nSDR, and after the last epoch also the
    BSSEval metrics if `sdr` is set.

    `shifts`, `overlap`, `split` and `seed` are those of `separation.apply`. With `save_to`, the estimates are saved
    there. With `quantisation`, the weights are quantised for the pass.
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
        """Aggregates of the scores of all tracks, by the names that `schema.EpochRecord` describes, such as "nsdr" or
        "nsdr_med_bass". `is_last` is whether this is the test after the last epoch. A collective call.

        Tracks in `tested` are skipped if their scores are complete, and new scores are added to it. `leave` is called
        after each track, equally often on all ranks. If it returns True, which must be so on all ranks, the pass ends
        and returns None.

        Raises the errors of `evaluation.evaluate.evaluate_tracks`.
        """
        tested = {} if tested is None else tested
        metrics = ("nsdr", "bsseval") if self.sdr and is_last else ("nsdr",)
        for name in [name for name, scores in tested.items() if not self._is_complete(scores, "bsseval" in metrics)]:
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
        for _ in range(max(left) - left[self.group.rank]):      # ranks with fewer tracks take part in all collectives
            stop()
        self.model.train(was_training)
        if asked[0]:
            return None
        scores = [track for part in self.group.gather(mine) for track in part]
        return history_aggregates(scores, self.model.sources)

    def _is_complete(self, scores: TrackScores, frames: bool) -> bool:
        """Whether earlier scores are complete for this test. They may not be: a run that was interrupted in its last
        test may continue for more epochs, and saved estimates may have been removed."""
        saved = self.save_to is None or all(estimate_path(self.save_to, scores.name, source).exists()
                                            for source in self.model.sources)
        return saved and bool(scores.frames) == frames
