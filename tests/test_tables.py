"""Numbers and tables as text, and the exact output of the commands that print them."""

import textwrap

import pytest

from demucs import tables
from demucs.evaluation.collect import score_tables
from demucs.metrics.quality.measures import MEASURES
from demucs.runs import overview
from demucs.schema import Evaluation, QualityScores, QualityTrack, TrackScores
from tools import score_quality


@pytest.mark.parametrize("value, options, text", [
    (1.005, {}, "1.00"), (-1.5, {}, "-1.50"), (-0.004, {}, "0.00"), (0., {"plus": True}, "+0.00"), (None, {}, "-"),
    (-0.004, {"plus": True}, "+0.00"), (2.345, {"digits": 1, "plus": True}, "+2.3"), (None, {"missing": "undefined"}, "undefined"),
    (float("inf"), {}, "inf"), (12, {"digits": 3}, "12.000")])
def test_a_number(value, options, text):
    assert tables.number(value, **options) == text


def test_a_number_of_things():
    assert [tables.counted(count, "track") for count in (0, 1, 2)] == ["0 tracks", "1 track", "2 tracks"]


def test_numbers_of_printed_matter_have_a_true_minus():
    assert tables.typeset(-3.14159) == "\N{MINUS SIGN}3.14" and tables.typeset(-0.001) == "0.00"
    assert tables.typeset(2., plus=True) == "+2.00" and tables.typeset(None) == "\N{EN DASH}"
    assert tables.true_minus("nsdr-mean 2026-11-29: -3.1 (-2)") == \
        "nsdr-mean 2026-11-29: \N{MINUS SIGN}3.1 (\N{MINUS SIGN}2)"


def test_intervals_and_p_values():
    assert tables.interval_text(-0.001, 0.256) == "+0.00 to +0.26"
    # An interval that excludes zero is shown without zero, whichever end is near.
    assert tables.interval_text(0.0042, 0.256) == "+0.004 to +0.26"
    assert tables.interval_text(-0.3, -0.0004) == "-0.30 to -0.0004"
    assert tables.interval_text(0., 0.256) == "+0.00 to +0.26" and tables.interval_text(0.1, 0.256) == "+0.10 to +0.26"
    assert tables.interval_text(1e-9, 1.) == "+0.000000 to +1.00"
    assert tables.interval_text(0.001, 0.002) == "+0.001 to +0.002"
    assert tables.p_text(0.0009) == "< 0.001" == tables.p_text(0.0009, "= ")
    assert tables.p_text(0.04251) == "0.043" and tables.p_text(0.04251, "= ") == "= 0.043"


@pytest.mark.parametrize("seconds, text, fine", [
    (0.9, "0 s", "0 s"), (59.9, "59 s", "59 s"), (60, "1 min", "1 min 00 s"), (725, "12 min", "12 min 05 s"),
    (3599, "59 min", "59 min 59 s"), (12345, "3 h 25 min", "3 h 25 min"), (200000, "2 d 7 h", "2 d 7 h")])
def test_durations(seconds, text, fine):
    assert (tables.duration(seconds), tables.duration(seconds, fine=True)) == (text, fine)
    assert tables.duration(None) == "-"


def test_aligned():
    lines = tables.aligned(["name", "of", "value"], [["a", "b", "1.0"], ["across all"], ["long name", "c", "-22.25"]],
                           left=(0, 1))
    assert lines == ["name       of   value",
                     "a          b      1.0",
                     "across all",
                     "long name  c   -22.25"]
    assert tables.aligned(["", "x"], [["a", "undefined"]], least=(3, 10), gap=1) == ["            x", "a   undefined"]
    assert tables.aligned(["", "x"], []) == ["  x"]


def test_markdown():
    assert tables.markdown(["", "n"], [["a|b", "1"], ["c", ""]], "lr") == \
        "|  | n |\n|---|---:|\n| a\\|b | 1 |\n| c |  |"
    assert tables.markdown(["a", "b"], []) == "| a | b |\n|---|---|"


def evaluation(name, drums, vocals, **more):
    tracks = [TrackScores(name=str(place), duration=1., seconds=1.,
                          scores={"drums": {"nsdr": one}, "vocals": {"nsdr": other}, **more})
              for place, (one, other) in enumerate(zip(drums, vocals))]
    return Evaluation(name=name, model="m", dataset="songs", sources=["drums", "vocals"], tracks=tracks, settings={},
                      model_hash="", commit="", versions={}, created="")


def test_scores_of_separators():
    """The table that an evaluation ends with."""
    text = score_tables([evaluation("1a2b3c4d", [1., -1.004], [-12.5, 3.], instrumental={"nsdr": 4.5}),
                         evaluation("average filter", [0., 0.], [0., 0.])])
    assert text.split("\n\n")[0] == textwrap.dedent("""\
        nSDR (dB): whole track, mean over tracks; songs, 2 tracks
                           drums    vocals      mean  instrumental
        1a2b3c4d            0.00     -4.75     -2.38          4.50
        average filter      0.00      0.00      0.00             -""")


def test_runs():
    """The table of `python -m tools.runs`."""
    rows = [overview.RunRow("1a2b3c4d", "running", epochs_done=12.5, epochs=360, best_nsdr=5.4321, seconds_per_step=1.23456,
                            eta=12345., restarts=2, sessions=3, gpu_hours=12.34, age=59.),
            overview.RunRow("deadbeef", "failed", why="a reason", log="the last line", argv=["epochs=4", "seed=1"])]
    expected = textwrap.dedent("""\
        SIGNATURE  STATE      EPOCHS  BEST NSDR  S/STEP        LEFT  RESTARTS  GPU HOURS  SEEN  SETTINGS
        1a2b3c4d   running  12.5/360      5.432    1.23  3 h 25 min         2       12.3  59 s
        deadbeef   failed          -          -       -           -         -          -     -  epochs=4 seed=1
            a reason
            the last line""")
    assert overview.table(rows, 200) == expected
    assert overview.table(rows, 80).splitlines() == [line if len(line) <= 80 else line[:77] + "..."
                                                     for line in expected.splitlines()]


def test_quality():
    """The tables of `python -m tools.score_quality`."""
    keys = list(MEASURES)[:2]
    scores = QualityScores(
        name="f", sources=["drums", "vocals"], measures={key: MEASURES[key].label for key in keys}, settings={}, commit="",
        versions={}, created="", tracks=[
            QualityTrack("a song", 3., {"drums": {keys[0]: 1.25, keys[1]: -0.01}, "vocals": {keys[0]: -12.34}}),
            QualityTrack("a song with a name of more than forty characters", 3.,
                         {"drums": {keys[0]: None, keys[1]: 123.456}, "vocals": {keys[0]: 4., keys[1]: 1.}})])
    assert score_quality.table(scores, keys) == "\n".join([
        "                                                 hnr                 hpr",
        "song                                      place     drums    vocals     drums    vocals",
        "a song with a name of more than forty ch   0.83         -       4.0     123.5       1.0",
        "a song                                     0.17       1.2     -12.3       0.0         -"])
    assert score_quality.summary(scores) == "\n".join([
        "mean over songs                                     drums    vocals",
        "harmonics-to-noise ratio (dB)                         1.2      -4.2",
        "harmonic-to-percussive ratio (dB)                    61.7       1.0"])
