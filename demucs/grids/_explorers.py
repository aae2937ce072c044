"""Base class of all grids: the table shown by `dora grid`, and the order of experiments that start from others."""

import typing as tp

import treetable
from dora import Explorer, Launcher

from ..schema import EpochRecord
from ._lineage import hold_back


class TrainingExplorer(Explorer):
    """Dora explorer whose table has one row per experiment: epochs done, losses of the last epoch, best validation
    nSDR, and the last test.

    Experiments whose parent (`continue_from`) is not completely trained are listed and not submitted.
    """

    def __call__(self, launcher: Launcher) -> None:
        super().__call__(launcher)
        hold_back(launcher._herd)

    def get_grid_metrics(self) -> tp.List[tp.Any]:
        """Columns of the table, for Dora."""
        group, leaf = treetable.group, treetable.leaf
        return [group("train", [leaf("epoch"), leaf("reco", ".3f")], align=">"),
                group("valid", [leaf("penalty", ".1f"), leaf("reco", ".3f"), leaf("best_nsdr", ".2f")], align=">"),
                group("test", [leaf("nsdr", ".2f"), leaf("sdr_med", ".2f")], align=">")]

    def process_history(self, history: tp.List[tp.Dict[str, tp.Any]]) -> tp.Dict[str, tp.Dict[str, float]]:
        """Cells of an experiment's row, {group: {column: value}}, from its `history` as in history.json."""
        records = [EpochRecord.from_history(entry) for entry in history]
        if not records:
            return {"train": {"epoch": 0}, "valid": {}, "test": {}}
        last = records[-1]
        valid = {"reco": last.valid["reco"], "best_nsdr": max((record.valid["nsdr"] for record in records
                                                                   if record.valid["nsdr"] is not None), default=None)}
        if last.penalty is not None:
            valid["penalty"] = last.penalty
        tests = [record.test for record in records if record.test]
        row = {"train": {"epoch": len(records), "reco": last.train["reco"]}, "valid": valid,
               "test": tests[-1] if tests else {}}
        # Numbers that were not finite are null in the history, and have no cell in the table.
        return {name: {key: value for key, value in part.items() if value is not None} for name, part in row.items()}
