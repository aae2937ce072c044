"""Published scores, and their comparability with a result.

The table is `demucs_results/published_baselines.csv`; the README beside it documents the columns. `choose` sorts its
rows for a result: rows of the same metric family, training data and test set are comparable; all others are listed with
the reasons why not. Models that were trained on the test set are never drawn.
"""

import csv
import typing as tp
from dataclasses import dataclass
from pathlib import Path

from demucs.metrics.aggregates import ALL, EVERY_FAMILY, Family
from demucs.schema import SOURCES, SchemaError

from . import REPOSITORY
from .comparability import (NOT_RECORDED, NOT_STATED, UNSTATED, Subject, differences, family_in_words, models_in_words,
                           songs)

TABLE = REPOSITORY / "demucs_results" / "published_baselines.csv"
TEST_SET = "MUSDB18-HQ test"
TEST_SETS = (TEST_SET, "MUSDB18 test")   # the same songs, as wav and compressed
TEST_TRACKS = 50
REGIME = "MUSDB18-HQ train"
REGIMES = {TEST_SET: REGIME, "MUSDB18 test": "MUSDB18 train"}    # training data by test set
KIND = "Demucs"      # in the names of models that are drawn beside a result


@dataclass(frozen=True)
class Baseline:
    """Published scores of one model, a row of the table. `values[source or "all"]` are in dB, None if not published;
    "all" is the mean over sources. `source` is the publication, `footnote` a remark on conflicting or doubtful numbers
    ("" if there is none)."""
    model: str
    variant: str
    single_or_bag: str
    training_data: str
    trained_on_test: bool
    family: str
    test_set: str
    values: tp.Dict[str, tp.Optional[float]]
    source: str
    footnote: str = ""

    @property
    def label(self) -> str:
        """Name of the row for the reader: model, variant, and whether it is a single model or a bag, if that is stated
        and not part of the variant."""
        parts = [self.model, self.variant]
        stated = self.single_or_bag == NOT_STATED or self.single_or_bag.split()[0] in self.variant
        return ", ".join(part for part in (parts if stated else [*parts, self.single_or_bag]) if part)

    @property
    def subject(self) -> Subject:
        """Properties of the row that decide with which results it can be compared."""
        return Subject(name=self.label, value=self.values[ALL], family=self.family, models=self.single_or_bag,
                       training_data=self.training_data, test_set=self.test_set, trained_on_test=self.trained_on_test,
                       tracks=TEST_TRACKS if self.test_set in TEST_SETS else None)


@dataclass(frozen=True)
class Apart:
    """A published row that is not comparable with a result. `reasons` has a clause for each difference."""
    row: Baseline
    reasons: tp.Tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Published rows, sorted by their comparability with the result `subject`.

    `beside` are comparable rows of Demucs models, drawn beside the result, and `others` comparable rows of other
    models; both start with the best. `apart` are rows that are not comparable, of all families, in the order of the
    table. `excluded` are rows of models trained on the test set, which are never drawn. `sentence` tells the reader
    what a comparison with `beside` shows.
    """
    subject: Subject
    beside: tp.Tuple[Baseline, ...]
    others: tp.Tuple[Baseline, ...]
    apart: tp.Tuple[Apart, ...]
    excluded: tp.Tuple[Baseline, ...]
    sentence: str


def load(path: Path = TABLE) -> tp.List[Baseline]:
    """All rows of the table of published scores, the CSV file `path`. Raises SchemaError if the file is missing, and,
    with the number of the line, for a row that is invalid."""
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
    if row["family"] not in EVERY_FAMILY and row["family"] != UNSTATED:
        raise ValueError(f"family {row['family']!r}")
    values = {name: float(row[name]) if row[name] else None for name in (*SOURCES, ALL)}
    trained_on_test = {"true": True, "false": False}[row["trained_on_test"]]
    return Baseline(values=values, trained_on_test=trained_on_test,
                    **{name: row[name] for name in ("model", "variant", "single_or_bag", "training_data", "family",
                                                    "test_set", "source", "footnote")})


def select(rows: tp.Iterable[Baseline], family: Family, *, containing: str = KIND,
           regime: str = REGIME, test_set: str = TEST_SET) -> tp.List[Baseline]:
    """Rows of `family`, the best mean over sources first, of models whose name contains `containing` (ignoring case),
    trained on `regime` and scored on `test_set`. Rows without a number for every source, or of models trained on the
    test set, are left out."""
    chosen = [row for row in rows if row.family == family.key and not row.trained_on_test
              and row.test_set == test_set and row.training_data == regime
              and containing.lower() in row.model.lower() and None not in row.values.values()]
    return sorted(chosen, key=lambda row: -(row.values[ALL] or 0.))


def choose(rows: tp.Iterable[Baseline], subject: Subject) -> Selection:
    """Published `rows`, sorted by their comparability with the result `subject`.

    A row is comparable if only the model differs, and it has a number for every source. It may also average another
    number of models; the sentence then counts such rows. Models whose name contains `KIND` are in `beside`, all others
    in `others`.
    """
    comparable, apart, excluded = [], [], []
    for row in rows:
        reasons = [reason for kind, reason in differences(subject, row.subject) if kind != "models"]
        if None in row.values.values():
            reasons.append("not every source has a number")
        if row.trained_on_test:
            excluded.append(row)
        elif reasons:
            apart.append(Apart(row=row, reasons=tuple(reasons)))
        else:
            comparable.append(row)
    comparable.sort(key=lambda row: -(row.values[ALL] or 0.))
    beside = tuple(row for row in comparable if KIND.lower() in row.model.lower())
    return Selection(subject=subject, beside=beside, others=tuple(row for row in comparable if row not in beside),
                     apart=tuple(apart), excluded=tuple(excluded), sentence=_sentence(subject, beside))


def _sentence(subject: Subject, beside: tp.Sequence[Baseline]) -> str:
    """What a comparison of `subject` with these rows shows, in one or two sentences."""
    test_set = rows_of(subject.test_set)
    basis = f"{TEST_TRACKS} songs ({test_set})"
    if subject.test_set == NOT_STATED:
        return (f"What this result was scored on is not recorded, so no number here can be compared with published "
                f"ones, which were measured on the {basis}: they are shown for orientation only. If it was one of "
                f"{' and '.join(TEST_SETS)}, say so with --scored-on.")
    if subject.test_set not in TEST_SETS or subject.tracks != TEST_TRACKS:
        return (f"Published numbers were measured on the {basis} and this result on {songs(subject)}, so no number "
                f"here can be compared with them: they are shown for orientation only.")
    if subject.training_data == NOT_RECORDED:
        return (f"What this result's model was trained on is not recorded, so no published number is of its kind for "
                f"certain: rows of models trained on {REGIMES[test_set]} and scored on the same {basis} are shown for "
                f"orientation. If it is known, say so with --trained-on.")
    if not beside:
        return (f"No published number of {KIND} models is comparable with this one: none was trained on "
                f"{subject.training_data}, scored on {songs(subject)} and aggregated as "
                f"{family_in_words(subject.family)}.")
    return (f"The published rows are {KIND} models trained on {subject.training_data}, scored on the same "
            f"{TEST_TRACKS} songs ({subject.test_set}) and aggregated the same way, {family_in_words(subject.family)}"
            f"{_unlike(subject, beside)}; they show which number is higher, not whether other songs or another seed "
            f"would reverse the order.")


def rows_of(test_set: str) -> str:
    """Test set whose published rows are shown with a result on `test_set`: the same if it is one of `TEST_SETS`, else
    MUSDB18-HQ."""
    return test_set if test_set in TEST_SETS else TEST_SET


def _unlike(subject: Subject, beside: tp.Sequence[Baseline]) -> str:
    """Clause on the rows that average another number of models than `subject`, "" without such rows."""
    unlike = [row.single_or_bag for row in beside if row.single_or_bag != subject.models]
    if not unlike:
        return ""
    kinds = ", ".join(f"{unlike.count(kind)} {'is' if unlike.count(kind) == 1 else 'are'} of {models_in_words(kind)}"
                      for kind in dict.fromkeys(unlike))
    return f", but this result is of {models_in_words(subject.models)} and of the {len(beside)} rows {kinds}"
