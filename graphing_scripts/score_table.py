"""Text table of the nSDR per source: a run and every reference separator that was evaluated on the same tracks."""

import typing as tp

import common
from readers import Run, find_run
from scores import measured, undefined

from demucs.errors import SignatureError
from demucs.metrics.aggregates import ALL, FAMILIES, NSDR_MEAN, Family, aggregate


def score_table(run: Run, family: Family) -> str:
    """The table with its caption and notes. Raises SignatureError where the run has no scores in the family."""
    rows = measured(run, family)
    if run.evaluation is None or not rows:
        raise SignatureError(f"{run.name} has no scores in the family {family.key}: evaluate it first "
                             f"(slurm_scripts/evaluate_slurm.sh {run.name})")
    columns = [*run.evaluation.sources, ALL]
    first = max(len(row.label) for row in rows)
    widths = [max(8, len(column) + 2) for column in columns]
    head = "".join(f"{'mean' if name == ALL else name:>{width}}" for name, width in zip(columns, widths))
    lines = [f"{family.label}, mean over sources at the right",
             f"{run.evaluation.dataset}, {len(run.evaluation.tracks)} tracks", "",
             " " * first + head, "-" * (first + sum(widths))]
    for row in rows:
        numbers = (row.values.get(name) for name in columns)
        lines.append(f"{row.label:<{first}}" + "".join(
            f"{'undefined' if value is None else format(round(value, 2) + 0., '.2f'):>{width}}"
            for value, width in zip(numbers, widths)))
    notes = [undefined(aggregate(run.evaluation, family)), *(f"note: {note}" for note in run.notes)]
    return "\n".join([*lines, *filter(None, notes)])


def main() -> None:
    parser = common.parser(__doc__, "python graphing_scripts/score_table.py 162f67a7")
    parser.add_argument("--family", choices=sorted(FAMILIES), default=NSDR_MEAN.key,
                        help="how scores are aggregated (default: %(default)s)")
    arguments = parser.parse_args()
    tables: tp.List[str] = []
    for argument in arguments.runs or [None]:
        tables.append(score_table(find_run(argument, arguments.results), FAMILIES[arguments.family]))
    print("\n\n".join(tables))


if __name__ == "__main__":
    common.run(main)
