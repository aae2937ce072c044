"""Rows of a score table: a run, the reference separators on the same tracks, and published numbers.

Text tables, bar charts and the report all use these rows, so their numbers agree. A table has rows of one metric family
only: every row has its family, and `one_table` refuses rows of different ones.
"""

import dataclasses
import re
import typing as tp
from dataclasses import dataclass

from demucs.errors import SignatureError
from demucs.metrics.aggregates import (ALL, EVERY_FAMILY, Aggregate, Family, FamilyError, aggregate, logged_aggregate,
                                       one_family)
from demucs.schema import RunCard
from demucs.tables import counted

from . import baselines
from .comparability import NOT_RECORDED, NOT_STATED, SINGLE, Subject
from .readers import RECORDS_OF_A_RUN, REFERENCE_LABELS, Run

RUN, REFERENCE, PUBLISHED = "run", "reference", "published"
NOT_COMPARABLE = "not comparable"
MUSDB_TRAIN_TRACKS = (86, 100)   # without and with the 14 songs for validation


@dataclass(frozen=True)
class Row:
    """A row of a score table. `values[source or "all"]` are in dB, or None. `kind` is RUN, REFERENCE or PUBLISHED.
    `origin` is the source of a published number, `footnote` a remark on doubts about it. The scale of an axis does not
    include rows that are not `comparable`."""
    label: str
    kind: str
    values: tp.Dict[str, tp.Optional[float]]
    family: Family
    origin: str = ""
    footnote: str = ""
    comparable: bool = True


def one_table(rows: tp.Sequence[Row], where: str = "a score table") -> tp.List[Row]:
    """List of `rows`, checked to be of one family, as a table or an axis requires. Raises FamilyError, with `where` as
    subject of its message, if they are not."""
    if rows:
        one_family(rows, where=where)
    return list(rows)


def measured(run: Run, family: Family) -> tp.List[Row]:
    """Rows of a run in one family: the model, printed results, then reference separators, the best of these first. Rows
    without any value are left out; empty if the run itself has no defined score in the family."""
    rows = []
    if run.evaluation is not None:
        rows.append(Row(label=f"{run.evaluation.model} {run.evaluation.name}", kind=RUN, family=family,
                        values=aggregate(run.evaluation, family).values))
    for printed in () if family.pooled else run.printed:   # no test prints pooled frames
        epochs = "" if printed.epochs is None else f", {printed.epochs} epochs"
        rows.append(Row(label=f"{run.name} as printed{epochs}", kind=RUN, family=family,
                        values=logged_aggregate(printed.numbers, family).values))
    rows = [row for row in rows if _defined(row)]
    others = [Row(label=REFERENCE_LABELS.get(name, name.replace("_", " ")), kind=REFERENCE, family=family,
                  values=aggregate(evaluation, family).values) for name, evaluation in run.references.items()]
    others = [row for row in others if _defined(row)] if rows else []
    return rows + sorted(others, key=lambda row: -_or_lowest(row.values[ALL]))


def published(run: Run, family: Family, table: tp.Iterable[baselines.Baseline]) -> tp.List[Row]:
    """Rows of the published numbers `table` in the family, for orientation, for a run with the four sources of MUSDB18
    (else []).

    They are of the run's test set (MUSDB18-HQ if it is no version of MUSDB18), and of models trained on the same data
    as the run; if the run's training data is unknown or it was scored on other songs, on the training part of that test
    set. The sentence of `choose` states what a comparison shows.
    """
    if not of_published_sources(run):
        return []
    test_set = baselines.rows_of(_test_set(run))
    known = run.trained_on or training_data(run)
    regime = baselines.REGIMES[test_set] if known == NOT_RECORDED or not _on_musdb(run) else known
    return [published_row(row, comparable=False)
            for row in baselines.select(table, family, regime=regime, test_set=test_set)]


def subject(run: Run, family: Family) -> Subject:
    """Properties of a run's result in one family, for a comparison with published ones, from its records only. Raises
    FamilyError if the run has no scores in the family."""
    evaluation = run.evaluation
    rows = measured(run, family)
    if not rows:
        raise FamilyError(f"{run.name} has no scores in the family {family.key}: {advice(run, family)}")
    row = rows[0]
    bag = re.match(r"bag of (.*)", evaluation.model) if evaluation is not None else None
    return Subject(name=row.label, value=row.values[ALL], family=family.key, training_data=training_data(run),
                   models=f"bag of {bag.group(1).count(',') + 1}" if bag else SINGLE,
                   test_set=evaluation.dataset if evaluation is not None else NOT_STATED,
                   tracks=len(evaluation.tracks) if evaluation is not None else None)


def families_with_scores(run: Run) -> tp.List[Family]:
    """Families in which a run has scores, in the order of `EVERY_FAMILY`, which begins with those of papers, logs and
    the MDX challenge."""
    return [family for family in EVERY_FAMILY.values() if measured(run, family)]


def first_family(runs: tp.Sequence[Run], *, pooled: bool = True) -> Family:
    """First family in which all of `runs` have scores; with `pooled=False` only families with one value per track.

    Raises SignatureError, with the families that each run has, if there is none in common.
    """
    has = {run.name: families_with_scores(run) for run in runs}
    shared = [family for family in EVERY_FAMILY.values()
              if (pooled or not family.pooled) and all(family in found for found in has.values())]
    if shared:
        return shared[0]
    without = [run for run in runs if not has[run.name]]
    if without:
        raise SignatureError(f"{without[0].name} has no scores: {advice(without[0])}")
    told = "; ".join(f"{name}: {', '.join(family.key for family in found)}" for name, found in has.items())
    raise SignatureError(f"{', '.join(has)} have no family of scores in common ({told}): evaluate them with the "
                         f"same metrics")


def advice(run: Run, family: tp.Optional[Family] = None) -> str:
    """Clause of an error message on how to get scores (in `family`) for a run, depending on the kind of input. If it
    has scores in other families, these are named."""
    found = families_with_scores(run)
    if found and family is not None:
        there = f"it has {', '.join(each.key for each in found)}"
        if run.kind != RECORDS_OF_A_RUN or family.metric in {each.metric for each in found}:
            return there
        return f"{there}; evaluate it with {family.metric} (slurm_scripts/evaluate_slurm.sh {run.name})"
    if run.kind == RECORDS_OF_A_RUN:
        return f"evaluate it first (slurm_scripts/evaluate_slurm.sh {run.name})"
    return (f"it is {run.kind}; name its evaluation.json, a printed result of its test, or a folder of museval's "
            f"files, too")


def training_data(run: Run) -> str:
    """Training data of a run, named as in the table of published numbers: "MUSDB18-HQ train", or "N songs"; "not
    recorded" without a run card.

    A run card has the number of training songs. They are MUSDB18-HQ if there are 86 or 100, the overrides select no
    other dataset, and the run was not scored on other songs than MUSDB18's.
    """
    card: tp.Optional[RunCard] = run.card
    if card is None:
        return NOT_RECORDED
    other = any(argument.lstrip("+").startswith(("dset.wav=", "dset.wav2=", "dset=", "dset.use_musdb="))
                for argument in card.argv)
    musdb = card.train_tracks in MUSDB_TRAIN_TRACKS and not other and _on_musdb(run)
    return baselines.REGIME if musdb else f"{card.train_tracks} songs"


def _test_set(run: Run) -> str:
    return run.evaluation.dataset if run.evaluation is not None else run.scored_on or NOT_STATED


def _on_musdb(run: Run) -> bool:
    return run.evaluation is None or run.evaluation.dataset in baselines.TEST_SETS


def undefined(result: Aggregate) -> str:
    """Sentence on the numbers of tracks without a defined score, which the aggregate `result` excludes; "" if there are
    none or they are unknown."""
    if result.tracks is None:
        return ""
    short = {source: result.tracks - count for source, count in result.counts.items()
             if source != ALL and count < result.tracks}
    if not short:
        return ""
    listed = ", ".join(f"{count} for {source}" for source, count in short.items())
    return f"Of {result.tracks} tracks some have no defined score and do not count: {listed}."


@dataclass(frozen=True)
class Group:
    """Rows of a score table under a heading."""
    heading: str
    rows: tp.Sequence[Row]


def groups_of(runs: tp.Sequence[Run], family: Family, table: tp.Sequence[baselines.Baseline]) -> tp.List[Group]:
    """Rows of `runs` in one family, grouped by consecutive runs on the same test set, and then published rows of
    `table`, chosen for the first run with scores. Empty if no run has scores in the family.

    Raises FamilyError for rows of different families.
    """
    groups: tp.List[Group] = []
    for run in runs:
        rows = measured(run, family)
        if not rows:
            continue
        scored = scored_on(run)
        if groups and groups[-1].heading == scored:
            groups[-1] = Group(scored, [*groups[-1].rows, *(row for row in rows if row not in groups[-1].rows)])
        else:
            groups.append(Group(scored, rows))
    groups = [Group(group.heading, sorted(group.rows, key=lambda row: row.kind != RUN)) for group in groups]
    if groups:
        first = next(run for run in runs if measured(run, family))
        beside = choose(first, family, table).beside if of_published_sources(first) else ()
        rows = [published_row(row) for row in beside] or published(first, family, table)
        told = f"published, {beside[0].test_set}" if beside else \
            f"published, {baselines.rows_of(_test_set(first))}: for orientation, {why_not(subject_of(first, family))}"
        groups += [Group(told, rows)] if rows else []
    one_table([row for group in groups for row in group.rows], where="a figure")
    return groups


def why_not(subject: Subject) -> str:
    """Reason why no published row is comparable with the result `subject`, as a clause for a heading."""
    if subject.test_set == NOT_STATED:
        return "not recorded what this was scored on: give --scored-on"
    if subject.test_set not in baselines.TEST_SETS or subject.tracks != baselines.TEST_TRACKS:
        return NOT_COMPARABLE
    if subject.training_data == NOT_RECORDED:
        return "not recorded what this was trained on: give --trained-on"
    return NOT_COMPARABLE


def subject_of(run: Run, family: Family) -> Subject:
    """Properties of a run's result in one family, as `subject` finds them, but with the training data and test set that
    were given as options (`Run.trained_on`, `Run.scored_on`).

    Raises FamilyError if the run has no scores in the family.
    """
    found = subject(run, family)
    if run.trained_on:
        found = dataclasses.replace(found, training_data=run.trained_on)
    if run.scored_on and run.evaluation is None:
        found = dataclasses.replace(found, test_set=run.scored_on, tracks=baselines.TEST_TRACKS)
    return found


def of_published_sources(run: Run) -> bool:
    """Whether a run separates the four sources of MUSDB18, for which there are published numbers."""
    return set(run.sources) == set(baselines.SOURCES)


def choose(run: Run, family: Family, table: tp.Sequence[baselines.Baseline]) -> baselines.Selection:
    """Published rows of `table`, sorted by their comparability with the run's result in `family`. Raises FamilyError if
    the run has no scores in the family."""
    return baselines.choose(table, subject_of(run, family))


def published_row(row: baselines.Baseline, *, comparable: bool = True) -> Row:
    """Row of a score table for the published row `row`. If it is not `comparable`, the scale of an axis does not
    include it."""
    return Row(label=row.label, kind=PUBLISHED, values=row.values, family=EVERY_FAMILY[row.family], origin=row.source,
               footnote=row.footnote, comparable=comparable)


def scored_on(run: Run) -> str:
    """Phrase for the test set of a run's scores with the number of tracks, such as "MUSDB18-HQ test, 3 of 50
    tracks"."""
    if run.evaluation is None:
        return "as printed by tests" + (f", {run.scored_on}" if run.scored_on else "")
    done, expected = len(run.evaluation.tracks), len(run.evaluation.expected)
    part = f"{done} of " if done < expected else ""
    return f"{run.evaluation.dataset}, {part}{counted(max(done, expected), 'track')}"


def _defined(row: Row) -> bool:
    return any(value is not None for value in row.values.values())


def _or_lowest(value: tp.Optional[float]) -> float:
    return float("-inf") if value is None else value
