"""The table of published numbers agrees with what was collected, and only comparable rows are ever chosen."""

import csv
import re

import pytest
from records import baselines
from records.comparability import Subject

from demucs.errors import DemucsError
from demucs.metrics.aggregates import FAMILIES, NSDR_MEAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS

TABLE = baselines.load()


def family_of(metric):
    """Family that the reference's free text describes."""
    if "MEAN over tracks" in metric:
        return "sdr_mean_of_medians"
    if "nSDR" in metric:
        return "nsdr_mean"
    if "median over tracks" in metric or "median of tracks" in metric:
        return "sdr_median_of_medians"
    return "unstated"


def test_every_number_is_the_collected_one(reference):
    with (reference / "baselines.csv").open(newline="", encoding="utf-8") as file:
        collected = [row for row in csv.DictReader(file) if any(row[k] for k in ("drums", "vocals", "avg"))]
    assert len(TABLE) == len(collected) > 90
    for ours, theirs in zip(TABLE, collected):
        assert ours.model == theirs["model"]
        assert theirs["variant"].startswith(ours.variant)
        assert ours.training_data == theirs["training_data"]
        assert ours.trained_on_test == ("TRAINED ON THE TEST SET" in theirs["variant"])
        assert ours.family == family_of(theirs["metric"])
        assert (ours.test_set == "MUSDB18-HQ test") == ("MUSDB18-HQ" in theirs["metric"])
        assert ours.source.startswith(theirs["source"])
        numbers = {key: float(theirs["avg" if key == "all" else key] or "nan") for key in ours.values}
        assert {k: float("nan") if v is None else v for k, v in ours.values.items()} == pytest.approx(
            numbers, abs=0, nan_ok=True)


def test_overall_numbers_are_means_over_sources():
    """Within 0.02 dB of printed rounding; HTDemucs "Sparse" prints 9.20 where its sources give 9.27."""
    for row in TABLE:
        sources = [row.values[name] for name in baselines.SOURCES]
        if None not in row.values.values() and "Sparse" not in row.variant:
            assert row.values["all"] == pytest.approx(sum(sources) / 4, abs=0.021), row.label


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_chosen_rows_are_of_one_family_and_one_regime(family):
    for row in baselines.select(TABLE, family, containing=""):
        assert row.family == family.key and not row.trained_on_test
        assert row.test_set == "MUSDB18-HQ test" and row.training_data == "MUSDB18-HQ train"
        assert None not in row.values.values()


def test_the_demucs_rows_shown_by_default():
    overall = {key: [row.values["all"] for row in baselines.select(TABLE, family)] for key, family in FAMILIES.items()}
    assert overall == {SDR_MEDIAN_OF_MEDIANS.key: [7.68, 7.64, 7.52, 6.93, 6.80], SDR_MEAN_OF_MEDIANS.key: [6.48],
                       NSDR_MEAN.key: [6.77, 5.50], "nsdr_median": []}


def test_models_trained_on_the_test_set_are_marked_and_never_chosen():
    marked = [row for row in TABLE if row.trained_on_test]
    assert sorted(row.values["all"] for row in marked) == [9.37, 9.91]
    for row in marked:   # not even where the regime and the test set are theirs
        assert row not in [chosen for family in FAMILIES.values() for chosen in baselines.select(
            TABLE, family, containing="", regime=row.training_data, test_set=row.test_set)]


def subject(family, **changes):
    values = dict(name="ours", value=6., family=family.key, models="single", training_data="MUSDB18-HQ train",
                  test_set="MUSDB18-HQ test", tracks=50)
    return Subject(**{**values, **changes})


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("changes", [{}, {"training_data": "MUSDB18-HQ + 800 songs"}, {"test_set": "MUSDB18 test"},
                                     {"test_set": "synthetic", "tracks": 6}, {"training_data": "not recorded"}])
def test_every_row_is_beside_other_apart_or_excluded_and_the_kinds_do_not_mix(family, changes):
    chosen = baselines.choose(TABLE, subject(family, **changes))
    groups = [*chosen.beside, *chosen.others, *(item.row for item in chosen.apart), *chosen.excluded]
    assert len(groups) == len(TABLE) and all(row in groups for row in TABLE)
    assert all(row.trained_on_test for row in chosen.excluded) and len(chosen.excluded) == 2
    for row in [*chosen.beside, *chosen.others]:
        assert (row.family, row.training_data, row.test_set) == (
            family.key, chosen.subject.training_data, chosen.subject.test_set) and not row.trained_on_test
        assert ("Demucs" in row.model) == (row in chosen.beside) and None not in row.values.values()
    assert all(item.reasons for item in chosen.apart)
    if changes.get("tracks") == 6 or "not recorded" in changes.values():
        assert not chosen.beside and not chosen.others


def test_the_rows_beside_a_run_are_those_that_are_drawn():
    for family in FAMILIES.values():
        assert list(baselines.choose(TABLE, subject(family)).beside) == baselines.select(TABLE, family)


def test_models_with_more_data_stand_beside_models_with_as_much():
    more = baselines.choose(TABLE, subject(SDR_MEDIAN_OF_MEDIANS, training_data="MUSDB18-HQ + 800 songs"))
    assert {row.values["all"] for row in more.beside} == {9.20, 9.01, 9.00, 8.80, 8.69, 8.34}   # Table 2 has no sources


def test_conflicts_and_doubts_have_a_footnote():
    for row in TABLE:
        numbers = [row.values[name] for name in baselines.SOURCES]
        off = None not in row.values.values() and abs(row.values["all"] - sum(numbers) / 4) > 0.021
        doubtful = any(word in row.source for word in ("SECONDARY", "but marks", "does not mark", "inflated",
                                                       "equal total", "compares with", "not a valid baseline"))
        assert row.footnote or not (off or doubtful or row.trained_on_test), row.label
    assert sum(bool(row.footnote) for row in TABLE) == 30


def test_footnotes_that_name_another_row_quote_its_number():
    """Each number in a footnote is one of the table, a difference, or its own mean over sources."""
    overall = {f"{row.values['all']:.2f}" for row in TABLE if row.values["all"] is not None}
    vocals = {f"{row.values['vocals']:.2f}" for row in TABLE if row.values["vocals"] is not None}
    gaps = {"0.37", "1.27", "0.59", "9.27"}
    assert {"0.37", "1.27", "0.59"} == {f"{abs(a - b):.2f}" for a, b in ((5.36, 5.73), (5.50, 6.77), (7.65, 8.24))}
    for row in TABLE:
        for number in re.findall(r"(?<![\d.:])\d\.\d\d(?!\d)", row.footnote):
            assert number in overall | vocals | gaps, (row.label, number)


def test_labels_say_whether_several_models_were_averaged():
    labels = [row.label for row in baselines.select(TABLE, SDR_MEDIAN_OF_MEDIANS)]
    assert all("bag" in label or "single" in label for label in labels)


@pytest.mark.parametrize("cell, value", [("drums", "loud"), ("family", "sdr"), ("trained_on_test", "maybe")])
def test_a_broken_line_is_named(tmp_path, cell, value):
    with baselines.TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:3]
    rows[1][cell] = value
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DemucsError, match="table.csv, line 3"):
        baselines.load(tmp_path / "table.csv")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DemucsError, match="gone.csv"):
        baselines.load(tmp_path / "gone.csv")
