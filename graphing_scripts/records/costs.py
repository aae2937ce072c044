"""Scores of models beside their costs: published scores, evaluations of runs, and studies.

Costs are those that `python -m tools.complexity --json` counted. Points of one `Group` are comparable: they have the
same test songs and metric family. A bag of several models has several times the cost, and has no point.
"""

import typing as tp
from dataclasses import dataclass
from pathlib import Path

from demucs import schema
from demucs.metrics.aggregates import ALL, EVERY_FAMILY, NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS, Family, aggregate
from demucs.runs.layout import STUDY
from demucs.schema import ModelCost

from . import baselines, comparisons
from .readers import read_records

# Rows of the table of published scores by model and variant, with the model of the zoo that has their architecture, and
# a short name.
PUBLISHED = {
    ("Open-Unmix", "umx"): ("openunmix_separator", "umx"),
    ("Open-Unmix", "umxhq"): ("openunmix_separator", "umxhq"),
    ("Hybrid Demucs (v3)", "single model (hdemucs_mmi recipe)"): ("hdemucs", "hdemucs_mmi"),
    ("Hybrid Demucs (v3)", "single model retrained, 390 epochs, bs 32, 8x RTX 3090"): ("hdemucs", "HDemucs, retrained"),
    ("Hybrid Demucs (torchaudio)", "HDEMUCS_HIGH_MUSDB (single model), third-party museval"):
        ("torch_hdemucs", "HDemucs, torchaudio"),
    ("HTDemucs (v4)", "MUSDB only"): ("htdemucs", "HTDemucs"),
    ("HTDemucs (v4)", "150 extra"): ("htdemucs", "HTDemucs, 150 further songs"),
    ("HTDemucs (v4)", "htdemucs (800 extra)"): ("htdemucs", "HTDemucs, 800 further songs"),
}


@dataclass(frozen=True)
class Point:
    """Score of a model in dB, mean over sources, its multiply-adds per second of audio, and number of parameters.
    `name` is its short `label`."""
    label: str
    name: str
    score: float
    macs: float
    parameters: int
    training_data: str = ""


@dataclass(frozen=True)
class Group:
    """Points with the same test songs and metric family."""
    test_set: str
    family: Family
    points: tp.Tuple[Point, ...]


def groups(costs: tp.Sequence[ModelCost], table: tp.Iterable[baselines.Baseline], results: Path) -> tp.List[Group]:
    """Points of all models in `costs` that have scores: in the `table` of published ones, and in the folder `results`
    with runs and studies. Models that were trained on the test songs are left out."""
    found: tp.Dict[tp.Tuple[str, str], tp.List[Point]] = {}

    def add(test_set: str, family: Family, cost: ModelCost, label: str, score: tp.Optional[float],
            training_data: str = "", name: str = "") -> None:
        if score is not None:
            found.setdefault((test_set, family.key), []).append(
                Point(label, name or label, score, cost.macs_per_second[ALL], cost.parameters, training_data))
    defaults = {cost.model: cost for cost in costs if not cost.settings and not cost.run}
    for row in table:
        model, name = PUBLISHED.get((row.model, row.variant), ("", ""))
        cost = defaults.get(model)
        if cost is not None and row.family == SDR_MEDIAN_OF_MEDIANS.key and not row.trained_on_test:
            add(row.test_set, SDR_MEDIAN_OF_MEDIANS, cost, f"{row.model}, {row.variant}", row.values[ALL],
                row.training_data, name)
    for cost in costs:
        study, _, arm = cost.run.partition("/")
        if arm and (results / comparisons.STUDIES / study / STUDY).is_file():
            record = comparisons.find(study, results)
            if record.scored.get(arm):
                add(f"{record.result.dataset} (study {study})", record.family, cost, arm,
                    aggregate(record.average(arm), record.family).values[ALL])
        elif cost.run and (results / "runs" / cost.run).is_dir():
            run = read_records(results / "runs" / cost.run)
            for each in run.on_each_set:
                if each.evaluation is not None:
                    add(each.evaluation.dataset, NSDR_MEAN, cost, f"{cost.model} {cost.run}",
                        aggregate(each.evaluation, NSDR_MEAN).values[ALL])
    return [Group(test_set, EVERY_FAMILY[family], tuple(sorted(points, key=lambda point: -point.score)))
            for (test_set, family), points in found.items()]
