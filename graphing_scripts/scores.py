"""The rows of a score table: a run, the reference separators on the same tracks, and published numbers.

Text table, bar charts and the report all take them from here, so that they cannot differ. A table holds one metric
family only.
"""

import typing as tp
from dataclasses import dataclass

import baselines
from readers import REFERENCE_LABELS, Run

from demucs.metrics.aggregates import ALL, Aggregate, Family, aggregate

RUN, REFERENCE, PUBLISHED = "run", "reference", "published"


@dataclass(frozen=True)
class Row:
    """One line: `values[source or "all"]` in dB or None; `kind` is RUN, REFERENCE or PUBLISHED; `origin` says where a
    published number comes from."""
    label: str
    kind: str
    values: tp.Dict[str, tp.Optional[float]]
    origin: str = ""


def measured(run: Run, family: Family) -> tp.List[Row]:
    """The model and the reference separators, the best first among the latter. Empty where nothing is defined."""
    if run.evaluation is None or not aggregate(run.evaluation, family).defined:
        return []
    rows = [Row(label=f"{run.evaluation.model} {run.evaluation.name}", kind=RUN,
                values=aggregate(run.evaluation, family).values)]
    others = [Row(label=REFERENCE_LABELS.get(name, name.replace("_", " ")), kind=REFERENCE,
                  values=aggregate(evaluation, family).values)
              for name, evaluation in run.references.items() if aggregate(evaluation, family).defined]
    return rows + sorted(others, key=lambda row: -_or_lowest(row.values[ALL]))


def published(run: Run, family: Family, table: tp.Iterable[baselines.Baseline]) -> tp.List[Row]:
    """Published rows that fit the family, where the run has the four sources that they are about."""
    if run.evaluation is None or set(run.evaluation.sources) != set(baselines.SOURCES):
        return []
    return [Row(label=row.label, kind=PUBLISHED, values=row.values, origin=row.source)
            for row in baselines.select(table, family)]


def undefined(result: Aggregate) -> str:
    """A sentence on the tracks that do not count, "" where all do."""
    short = {source: result.tracks - count for source, count in result.counts.items()
             if source != ALL and count < result.tracks}
    if not short:
        return ""
    listed = ", ".join(f"{count} for {source}" for source, count in short.items())
    return f"Of {result.tracks} tracks some have no defined score and do not count: {listed}."


def comparison_note(run: Run) -> str:
    """What the published numbers do and do not say about this run, in one or two sentences."""
    evaluation = run.evaluation
    assert evaluation is not None
    basis = f"{baselines.TEST_TRACKS} songs of {baselines.TEST_SET}"
    if not baselines.comparable(evaluation):
        return (f"Published numbers were measured on the {basis}; this run was scored on {evaluation.dataset} "
                f"({len(evaluation.tracks)} tracks). They are shown for orientation only: no number here can be "
                f"compared with them.")
    trained = f" on {run.card.train_tracks} songs" if run.card is not None else ""
    return (f"Published rows: Demucs models trained on {baselines.REGIME}, scored on the same {basis}, aggregated the "
            f"same way. This run is one model trained{trained}; a bag averages several.")


def _or_lowest(value: tp.Optional[float]) -> float:
    return float("-inf") if value is None else value
