"""Published numbers, and which of them may stand beside a run.

The table is `demucs_results/published_baselines.csv`; its README says where each column comes from. Rows of another
metric family, rows that say no family, and rows of models trained on the test set never come out of `select`.
"""

import csv
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import common

from demucs.metrics.aggregates import ALL, FAMILIES, Family
from demucs.schema import Evaluation, SchemaError

TABLE = common.REPOSITORY / "demucs_results" / "published_baselines.csv"
TEST_SET = "MUSDB18-HQ test"
TEST_TRACKS = 50
REGIME = "MUSDB18-HQ train"
SOURCES = ("drums", "bass", "other", "vocals")


@dataclass(frozen=True)
class Baseline:
    """One published row: `values[source or "all"]` in dB, None where the publication gives no number."""
    model: str
    variant: str
    single_or_bag: str
    training_data: str
    trained_on_test: bool
    family: str
    test_set: str
    values: tp.Dict[str, tp.Optional[float]]
    source: str

    @property
    def label(self) -> str:
        parts = [self.model, self.variant]
        stated = self.single_or_bag == "not stated" or self.single_or_bag.split()[0] in self.variant
        return ", ".join(part for part in (parts if stated else [*parts, self.single_or_bag]) if part)


def load(path: Path = TABLE) -> tp.List[Baseline]:
    """All rows of the table. Raises SchemaError naming the line that cannot be read."""
    rows = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    rows.append(_baseline(row))
                except (KeyError, TypeError, ValueError) as error:
                    raise SchemaError(f"{path}, line {number}: not a published baseline ({error!r})") from error
    except FileNotFoundError as error:
        raise SchemaError(f"{path}: no such file; it is part of the repository, restore it with git") from error
    return rows


def _baseline(row: tp.Dict[str, str]) -> Baseline:
    if row["family"] not in FAMILIES and row["family"] != "unstated":
        raise ValueError(f"family {row['family']!r}")
    values = {name: float(row[name]) if row[name] else None for name in (*SOURCES, ALL)}
    return Baseline(model=row["model"], variant=row["variant"], single_or_bag=row["single_or_bag"],
                    training_data=row["training_data"], trained_on_test={"true": True, "false": False}[
                        row["trained_on_test"]], family=row["family"], test_set=row["test_set"], values=values,
                    source=row["source"])


def select(rows: tp.Iterable[Baseline], family: Family, *, containing: str = "Demucs",
           regime: str = REGIME, test_set: str = TEST_SET) -> tp.List[Baseline]:
    """Rows of `family` with every source, of models whose name contains `containing`, trained on `regime` and scored
    on `test_set`; the best first."""
    chosen = [row for row in rows if row.family == family.key and not row.trained_on_test
              and row.test_set == test_set and row.training_data == regime
              and containing.lower() in row.model.lower() and None not in row.values.values()]
    return sorted(chosen, key=lambda row: -(row.values[ALL] or 0.))


def comparable(evaluation: Evaluation) -> bool:
    """Whether published numbers were measured on what this evaluation was measured on."""
    return (evaluation.dataset == TEST_SET and len(evaluation.tracks) == TEST_TRACKS
            and set(evaluation.sources) == set(SOURCES))
