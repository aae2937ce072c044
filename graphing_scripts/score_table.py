"""Text table of scores per source: a run and every reference separator on the same tracks, and published numbers.

A run that was scored on several test sets has a table for each. With --published the table of the first set also has
rows of demucs_results/published_baselines.csv, the comparable ones first, and a sentence on what the comparison shows.
All rows are of one metric family; select another one with --family.
"""

import dataclasses
import textwrap
import typing as tp

import command_line
from records import baselines
from records.baselines import rows_of
from records.comparability import NOT_RECORDED
from records.readers import Run, find_run
from records.scores import (NOT_COMPARABLE, PUBLISHED, advice, first_family, measured, one_table, published_row,
                            subject, undefined, why_not)

from demucs.errors import SignatureError
from demucs.metrics.aggregates import ALL, EVERY_FAMILY, Family, aggregate
from demucs.tables import aligned, counted, number

WIDEST = 72     # characters of a label


def score_table(run: Run, family: Family, selection: tp.Optional[baselines.Selection] = None) -> str:
    """Text table of a run's scores in one family, with caption and notes, and with published rows if `selection` is
    given.

    Raises SignatureError if the run has no scores in the family, FamilyError if `selection` is of another family.
    """
    rows = measured(run, family)
    if not rows:
        raise SignatureError(f"{run.name} has no scores in the family {family.key}: {advice(run, family)}")
    groups = [("", rows)]
    if selection:
        apart = [item.row for item in selection.apart if item.row.family == family.key]
        unknown, same = why_not(selection.subject), []
        if selection.subject.training_data == NOT_RECORDED and unknown != NOT_COMPARABLE:
            same = [row for row in apart if row.test_set == rows_of(selection.subject.test_set)]
            apart = [row for row in apart if row not in same]
        groups += [("published, comparable:", [*map(published_row, selection.beside)]),
                   ("published, comparable, other models:", [*map(published_row, selection.others)]),
                   (f"published, {unknown}:", [*map(published_row, same)]),
                   ("published, not comparable (other data, other test set):", [*map(published_row, apart)])]
    shown = one_table([row for _, group in groups for row in group])
    notes = list(dict.fromkeys(row.footnote for row in shown if row.footnote))
    columns = [*run.sources, ALL]
    labels = {id(row): textwrap.shorten(row.label, WIDEST, placeholder=" ...")
              + (f" [{notes.index(row.footnote) + 1}]" if row.footnote else "") for row in shown}
    lines: tp.List[tp.Sequence[str]] = []
    for heading, group in groups:
        lines += [[heading]] if heading and group else []
        for row in group:
            missing = "-" if row.kind == PUBLISHED else "undefined"
            lines.append([labels[id(row)], *(number(row.values.get(name), missing=missing) for name in columns)])
    head, *table = aligned(["", *("mean" if name == ALL else name for name in columns)], lines, least=(0, 10), gap=1)
    scored = "as its test printed"
    if run.evaluation is not None:
        scored = f"{run.evaluation.dataset}, {counted(len(run.evaluation.tracks), 'track')}"
    told = ["", selection.sentence] if selection else []
    if selection and selection.excluded:
        told.append(f"Left out: {len(selection.excluded)} published rows of models trained on the test set.")
    told += [f"[{place}] {note}" for place, note in enumerate(notes, start=1)]
    told += filter(None, [undefined(aggregate(run.evaluation, family))] if run.evaluation else [])
    told += [f"note: {note}" for note in run.notes]
    return "\n".join([f"{family.label}, mean over sources at the right", scored, "", head, "-" * len(head), *table,
                      *told])


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/score_table.py 162f67a7 --published")
    parser.add_argument("--family", choices=sorted(EVERY_FAMILY),
                        help="how scores are aggregated (default: the first of nsdr_mean, sdr_median_of_medians, ... "
                             "that the run has)")
    parser.add_argument("--published", action="store_true", help="add published numbers")
    parser.add_argument("--trained-on", metavar="DATA",
                        help=f"training data of a model without a run card, e.g. '{baselines.REGIME}'")
    parser.add_argument("--scored-on", choices=baselines.TEST_SETS,
                        help="test set of a printed result, which does not name it")
    arguments = parser.parse_args()
    tables: tp.List[str] = []
    for argument in arguments.runs or [None]:
        run = find_run(argument, arguments.results)
        family = EVERY_FAMILY[arguments.family] if arguments.family else first_family([run])
        selection = None
        if arguments.published:
            own = subject(run, family)
            if arguments.trained_on:
                own = dataclasses.replace(own, training_data=arguments.trained_on)
            if arguments.scored_on:
                own = dataclasses.replace(own, test_set=arguments.scored_on, tracks=own.tracks or baselines.TEST_TRACKS)
            selection = baselines.choose(baselines.load(), own)
        tables.append(score_table(run, family, selection))
        tables += [score_table(each, family) for each in run.on_each_set[1:] if measured(each, family)]
    print("\n\n".join(tables))


if __name__ == "__main__":
    command_line.run(main, prints=True)
