"""Sentences on what a comparison with published numbers shows, such as the gap of 1.2 dB of a student project."""

import dataclasses

import pytest
from records import baselines, readers, scores
from records.comparability import NOT_RECORDED, NOT_STATED, UNSTATED, Subject, differences, statement
from score_table import score_table

from demucs.metrics.aggregates import (FAMILIES, NSDR_MEAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS, SDR_POOLED_MEAN,
                                       FamilyError)

TABLE = baselines.load()
BAG = next(row for row in TABLE if row.values["all"] == 7.68)
STUDENT = Subject(name="HDemucs, 218 epochs", value=6.30, family="sdr_mean_of_medians", models="single",
                  training_data="MUSDB18-HQ train", test_set="MUSDB18-HQ test", tracks=50)


def sentence(run, family=SDR_MEDIAN_OF_MEDIANS):
    return scores.choose(run, family, TABLE).sentence


@pytest.mark.parametrize("value", [6.09, 6.30, 6.48])   # 127, 218 and 390 epochs
def test_the_student_projects_gap_is_called_what_it_was(value):
    told = statement(dataclasses.replace(STUDENT, value=value), BAG.subject)
    assert f"has {value:.2f} dB" in told and "7.68 dB" in told
    assert f"the {7.68 - value:.2f} dB between them are not the models' alone" in told
    assert "the first is SDR (median over 1 s frames, mean over tracks)" in told
    assert "the second SDR (median over 1 s frames, median over tracks)" in told
    assert "one model is compared with a bag of 4" in told
    assert "trained on" not in told and "scored on" not in told   # these two were alike


def test_how_much_of_the_gap_is_aggregation():
    """218 epochs: 6.30 as a mean over tracks, 6.68 as a median; 390 epochs: 6.48 and 6.93."""
    assert statement(STUDENT, BAG.subject, in_their_family=6.68).endswith(
        "in the family of the second the first has 6.68 dB, so that +0.38 of the +1.38 dB are the aggregation.")
    longest = dataclasses.replace(STUDENT, value=6.48)
    assert "+0.45 of the +1.20 dB" in statement(longest, BAG.subject, in_their_family=6.93)


def test_the_bag_never_stands_beside_the_students_mean():
    beside = baselines.choose(TABLE, STUDENT).beside
    assert [row.values["all"] for row in beside] == [6.48] and BAG not in beside


def test_its_logs_say_so_by_themselves(reference):
    """From the printed result as the project left it, and the table."""
    run = readers.find_run(str(reference / "runs" / "test_44f697b5_218_epochs.out"), reference)
    told = statement(scores.subject(run, SDR_MEAN_OF_MEDIANS), BAG.subject,
                     in_their_family=scores.subject(run, SDR_MEDIAN_OF_MEDIANS).value)
    assert "has 6.30 dB" in told and "one model is compared with a bag of 4" in told
    assert "+0.37 of the +1.38 dB are the aggregation" in told
    table = score_table(run, SDR_MEAN_OF_MEDIANS)
    assert table.startswith("SDR (dB): median over 1 s frames, mean over tracks") and " 6.30" in table
    assert "no number here can be compared" in sentence(run, SDR_MEAN_OF_MEDIANS)   # it names no test set


def test_like_for_like_is_said_and_what_it_still_does_not_show():
    other = next(row for row in TABLE if row.values["all"] == 6.48)
    told = statement(STUDENT, other.subject)
    assert "like for like" in told and "+0.18 dB" in told and "another seed would reverse the order" in told


@pytest.mark.parametrize("change, kind, clause", [
    ({"family": "nsdr_mean"}, "family", "the first is SDR (median over 1 s frames, mean over tracks), the second nSDR"),
    ({"family": UNSTATED}, "family", "not stated how one of them was aggregated"),
    ({"models": "bag of 4"}, "models", "one model is compared with a bag of 4"),
    ({"models": "one model per source"}, "models", "one model is compared with one model per source"),
    ({"models": NOT_STATED}, "models", "not stated whether one of them averages several models"),
    ({"training_data": "MUSDB18-HQ + 800 songs"}, "training data", "the second on MUSDB18-HQ + 800 songs"),
    ({"training_data": NOT_RECORDED}, "training data", "trained on is not recorded"),
    ({"test_set": "MUSDB18 test"}, "test set", "the second on MUSDB18 test (50 tracks)"),
    ({"tracks": 49}, "test set", "the first was scored on MUSDB18-HQ test (50 tracks), the second on MUSDB18-HQ"),
    ({"test_set": NOT_STATED}, "test set", "not stated what one of them was scored on"),
    ({"trained_on_test": True}, "test songs", "was trained on the songs it is scored on")])
def test_everything_that_is_not_alike_is_named(change, kind, clause):
    other = dataclasses.replace(STUDENT, **{"name": "the other", "value": 7., **change})
    assert [found for found, _ in differences(STUDENT, other)] == [kind]
    assert clause in statement(STUDENT, other) and "like for like" not in statement(STUDENT, other)
    assert differences(STUDENT, STUDENT) == []


def test_a_comparison_without_a_number_is_refused():
    with pytest.raises(ValueError):
        statement(STUDENT, dataclasses.replace(STUDENT, value=None))


@pytest.fixture
def known_run(shared_results):
    """Makes a run with 50 tracks of MUSDB18-HQ and a card: the songs it was trained on are known."""
    evaluation = readers.find_run("759c9a58", shared_results).evaluation
    card = readers.find_run("1a2b3c4d", shared_results).card

    def make(*, tracks=50, model="hdemucs", **changes):
        return readers.Run(name="r", evaluation=dataclasses.replace(evaluation, model=model,
                                                                    tracks=evaluation.tracks[:tracks]),
                           card=dataclasses.replace(card, **{"train_tracks": 86, **changes}))
    return make


def test_the_note_of_a_comparable_run_says_how_many_rows_are_bags(known_run):
    told = sentence(known_run())
    assert "trained on MUSDB18-HQ train, scored on the same 50 songs" in told
    assert "this result is of one model and of the 5 rows 2 are of a bag of 4" in told
    bag = sentence(known_run(model="bag of hdemucs, hdemucs, demucs, demucs"))
    assert "this result is of a bag of 4 and of the 5 rows 3 are of one model" in bag
    assert "bag" not in sentence(known_run(), SDR_MEAN_OF_MEDIANS)


def test_the_note_of_other_songs_data_or_families_says_that(known_run):
    fewer = sentence(known_run(tracks=49))
    assert "this result on MUSDB18-HQ test (49 tracks), so no number here" in fewer
    more = sentence(known_run(train_tracks=886))
    assert "none was trained on 886 songs" in more
    known = known_run()
    known.card = None
    assert "trained on is not recorded" in sentence(known)
    assert "No published number of Demucs models" in sentence(known_run(), FAMILIES["nsdr_median"])


@pytest.mark.parametrize("changes, expected", [
    ({}, "MUSDB18-HQ train"), ({"train_tracks": 100}, "MUSDB18-HQ train"), ({"train_tracks": 886}, "886 songs"),
    ({"argv": ["dset.wav=/data/extra"]}, "86 songs"), ({"argv": ["dset=extra44"]}, "86 songs"),
    ({"argv": ["+dset.use_musdb=false"]}, "86 songs")])
def test_training_data_comes_from_the_card(known_run, changes, expected):
    assert scores.training_data(known_run(**changes)) == expected


def test_rows_of_two_families_in_one_table_are_refused(known_run):
    run = known_run()
    mean, median = (scores.measured(run, family) for family in (SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS))
    assert scores.one_table([*mean, *scores.published(run, SDR_MEAN_OF_MEDIANS, TABLE)])
    with pytest.raises(FamilyError, match="a score table"):
        scores.one_table([*mean, *median])
    with pytest.raises(FamilyError, match="no scores in the family sdr_pooled_mean"):
        scores.subject(run, SDR_POOLED_MEAN)
    selection = baselines.choose(TABLE, scores.subject(run, SDR_MEAN_OF_MEDIANS))
    with pytest.raises(FamilyError):
        score_table(run, SDR_MEDIAN_OF_MEDIANS, selection)


def test_a_table_with_published_rows_has_groups_footnotes_and_the_sentence(known_run):
    run = known_run()
    selection = baselines.choose(TABLE, scores.subject(run, SDR_MEDIAN_OF_MEDIANS))
    lines = score_table(run, SDR_MEDIAN_OF_MEDIANS, selection).splitlines()
    headings = [line for line in lines if line.startswith("published, ")]
    assert headings == ["published, comparable:", "published, comparable, other models:",
                        "published, not comparable (other data, other test set):"]
    first = lines[lines.index(headings[0]) + 1]
    assert "[1]" in first and first.split()[-1] == "7.68"
    assert any(line.startswith("[1] training data in conflict") for line in lines)
    assert selection.sentence in lines and "Left out: 2 published rows of models trained on the test set." in lines
    assert not any("TEST_SET" in line or "HIGH_MUSDB_PLUS" in line or "mdx_extra_q" in line for line in lines)
    assert not any(line.startswith("published") for line in score_table(run, NSDR_MEAN).splitlines())
