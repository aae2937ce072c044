"""Tests during and after training: the selected weights on the test songs."""

import dataclasses
import logging
import typing as tp
from pathlib import Path

from torch import nn

from ..inference.evaluate import evaluate_tracks
from ..inference.tracks import Track
from ..metrics.aggregates import history_aggregates
from ..schema import Metrics
from .distributed import Group
from .quantisation import Quantisation, rounded

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class TestStage:
    """nSDR on every test, and those of BSSEval after the last epoch where `sdr` is set.

    `tracks` are shared over the group. With `save_to`, the separated tracks are kept there. A model that is trained for
    quantisation is quantised for it. `workers` is of published configurations, which leave BSSEval to other processes;
    here it costs too little for that.
    """
    model: nn.Module
    tracks: tp.Sequence[Track]
    group: Group
    seed: int
    shifts: int
    overlap: float
    split: bool
    sdr: bool
    workers: int
    save_to: tp.Optional[Path]
    quantisation: tp.Optional[Quantisation] = None

    def run(self, epoch: int, is_last: bool) -> Metrics:
        """Flat aggregates as `schema.EpochRecord` describes them."""
        metrics = ("nsdr", "bsseval") if self.sdr and is_last else ("nsdr",)
        logger.info("Testing on %d tracks...", len(self.tracks))
        was_training = self.model.training
        self.model.eval()
        with rounded(self.quantisation):
            mine = evaluate_tracks(
                self.model, self.tracks, metrics=metrics, shifts=self.shifts, overlap=self.overlap, split=self.split,
                seed=self.seed, save_to=self.save_to, rank=self.group.rank, world_size=self.group.world_size)
        self.model.train(was_training)
        scores = [track for part in self.group.gather(mine) for track in part]
        return history_aggregates(scores, self.model.sources)
