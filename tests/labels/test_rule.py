"""The choice of labelled songs."""

import itertools

import numpy as np
import pytest

from demucs.errors import ConfigError
from demucs.labels.rule import Rule, judged, thresholds_of
from demucs.schema import SongLabels

STEMS = ["drums", "vocals"]


def labels(name, remix, leak):
    """A song with the same values for both stems, the second better by a decibel; None where undefined."""
    def values(better):
        return {"remix_agreement": None if remix is None else remix + better,
                "leakage": None if leak is None else leak - better}
    both = {"drums": values(0), "vocals": values(1)}
    return SongLabels(name, f"{name}.wav", "", 10., STEMS, STEMS, -20., both, "", {})


SONGS = [labels("a", 3, -4), labels("b", 9, -30), labels("c", 6, -20), labels("d", None, None), labels("e", 8, -10),
         labels("f", 1, -1)]
BOTH = ("remix_agreement", "leakage")


def kept(rule, songs=SONGS, stems=STEMS):
    return {song.name for song in judged(songs, rule, stems) if song.split}


@pytest.mark.parametrize("share, expected", [(1 / 6, "b"), (0.5, "bce"), (0.4, "bc"), (1, "abcef"), (0.01, "")])
def test_the_best_by_mean_rank_are_kept(share, expected):
    assert kept(Rule(BOTH, share)) == set(expected)


def test_places_are_mean_ranks():
    """Written out: the rank of each of the five songs with values, from 0 to 1, in two measures."""
    places = {song.name: song.place for song in judged(SONGS, Rule(BOTH), STEMS)}
    remix, leak = "f a c e b".split(), "f a e c b".split()
    for name in "abcef":
        assert places[name] == pytest.approx((remix.index(name) + leak.index(name)) / 2 / 4)
    assert places["d"] is None


def test_thresholds_are_about_the_mean_over_stems():
    assert kept(Rule(BOTH, thresholds={"remix_agreement": 6.5})) == set("bce")
    assert kept(Rule(BOTH, thresholds={"remix_agreement": 6.51})) == set("be")
    assert kept(Rule(BOTH, thresholds={"remix_agreement": 6.5, "leakage": -20.5})) == set("bc")
    assert kept(Rule(BOTH, 1 / 6, thresholds={"leakage": -20.5})) == {"b"}
    reasons = {song.name: song.reason for song in judged(SONGS, Rule(BOTH, 1 / 6, {"leakage": -20.5}), STEMS)}
    assert reasons["e"] == "leakage is -10.50 dB in the mean over stems, the threshold is -20.5 dB"
    assert reasons["c"] == "not among the best 1 of 6 songs" and "silent" in reasons["d"] and reasons["b"] == ""


def test_other_stems_have_other_ranks():
    turned = [SongLabels(name, f"{name}.wav", "", 1., STEMS, STEMS, None,
                         {"drums": {"leakage": drums}, "vocals": {"leakage": -10 - drums}}, "", {})
              for name, drums in (("x", -9.), ("y", -1.))]
    assert kept(Rule(("leakage",), 0.5), turned, ["drums"]) == {"x"}
    assert kept(Rule(("leakage",), 0.5), turned, ["vocals"]) == {"y"}


def test_the_control_draws_as_many_from_all_songs():
    many = [labels(f"song {index}", index, -index) for index in range(40)]
    rule = Rule(BOTH, 0.25)
    drawn = [kept(Rule(BOTH, 0.25, random=seed), many) for seed in range(200)]
    assert {len(each) for each in drawn} == {len(kept(rule, many))} == {10}
    assert drawn[3] == kept(Rule(BOTH, 0.25, random=3), many[::-1])            # whatever the order
    times = np.array([sum(song.name in each for each in drawn) for song in many])
    assert (np.abs(times - 50) < 5 * np.sqrt(200 * 0.25 * 0.75)).all()         # every song alike
    assert len({frozenset(each) for each in drawn}) > 190


def test_validation_songs_are_some_of_the_kept():
    many = [labels(f"song {index}", index, -index) for index in range(20)]
    for valid, seed in itertools.product((0, 3, 50), (0, 1)):
        songs = judged(many, Rule(BOTH, 0.5, valid=valid, seed=seed), STEMS)
        assert sum(song.split == "valid" for song in songs) == min(valid, 10)
        assert sum(song.split != "" for song in songs) == 10


@pytest.mark.parametrize("texts, expected", [
    ([], {}), (["7"], {"leakage": 7}), (["hnr=-2.5", "leakage=-7"], {"hnr": -2.5, "leakage": -7})])
def test_thresholds_as_typed(texts, expected):
    assert thresholds_of(texts, ["leakage", "hnr"]) == expected


@pytest.mark.parametrize("text, words", [
    ("leakge=3", "Did you mean 'leakage'"), ("x", "number of decibels"), ("leakage=nan", "number"),
    ("leakage=1e9", "from -1000"), ("hpr=3", "--measure chooses others")])
def test_thresholds_that_cannot_be(text, words):
    with pytest.raises(ConfigError, match="--threshold") as error:
        thresholds_of([text], ["leakage", "hnr"])
    assert words in str(error.value)
