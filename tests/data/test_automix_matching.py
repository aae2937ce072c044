"""Which songs agree, and which remixes are drawn of them."""

import dataclasses
from pathlib import Path

import pytest

from demucs.data.automix import matching
from demucs.data.automix.matching import Change, Limits, change, draw_mixes
from demucs.data.automix.songs import Song
from demucs.data.tracks import Track
from demucs.schema import SOURCES, AutomixAnalysis

BARS = 20


def analysis(tempo=120., key=0, **changes):
    levels = {source: [-20.] * BARS for source in SOURCES}
    made = AutomixAnalysis(stamp=[], samplerate=44100, frames=44100 * 60, tempo=tempo, first_beat=0.5, signature=key,
                           tuning=0., level=-15., levels=levels, pulse=1., rival=0., margin=1., wander=0., key_margin=1.,
                           doubt="")
    return dataclasses.replace(made, **changes)


def song(title, split="train", dataset=0):
    return Song(dataset, split, Track(title, {source: () for source in SOURCES}), title)


@pytest.mark.parametrize("tempo, agrees", [(120., True), (134.3, True), (134.5, False), (107.2, True), (107., False),
                                           (60., False)])
def test_tempo_changes_within_the_limit_in_both_directions(tempo, agrees):
    one, other = analysis(120.), analysis(tempo)
    found = change(one, other, Limits(12., 2))
    assert isinstance(found, Change) == isinstance(change(other, one, Limits(12., 2)), Change) == agrees
    if agrees:
        assert other.tempo * (1 + found.tempo / 100) == pytest.approx(120., rel=1e-7)
    else:
        assert found == "the tempos are too far apart"


@pytest.mark.parametrize("key, shift", [(0, 0), (1, -1), (2, -2), (10, 2), (11, 1), (3, None), (6, None), (9, None)])
def test_keys_are_transposed_the_short_way(key, shift):
    found = change(analysis(key=0), analysis(key=key), Limits())
    assert found == (Change(0., shift, shift) if shift is not None else "the keys are too far apart")
    assert change(analysis(key=0), analysis(key=key), Limits(), pitched=False) == Change(0., 0., 0)


def test_tunings_are_corrected_where_they_differ_audibly():
    assert change(analysis(), analysis(key=1, tuning=0.3), Limits()) == Change(0., -1.3, -1)
    assert change(analysis(), analysis(key=1, tuning=0.12), Limits()) == Change(0., -1., -1)


def test_doubtful_songs_agree_with_none():
    doubtful = analysis(doubt="the tempo is not steady")
    assert change(analysis(), doubtful, Limits()) == change(doubtful, analysis(), Limits()) == matching.IN_DOUBT


def test_pairs_are_counted_by_reason_within_their_split():
    songs = [song("a"), song("b"), song("c"), song("d"), song("v", "valid"), song("w", "valid")]
    analyses = {"a": analysis(), "b": analysis(key=2), "c": analysis(key=6), "d": analysis(200.),
                "v": analysis(doubt="no clear pulse"), "w": analysis()}
    train, valid = matching.count_pairs(songs, analyses, Limits())
    assert (train.split, train.pairs, train.accepted) == ("train", 6, 1)
    assert train.refused == {"the keys are too far apart": 2, "the tempos are too far apart": 3}
    assert (valid.pairs, valid.accepted, valid.refused) == (1, 0, {matching.IN_DOUBT: 1})


def drawn(count=8, mixes=6, seed=42, **changes):
    songs = [song(f"song {number}", "train" if number < count else "valid") for number in range(count + 3)]
    analyses = {each.title: analysis(100. + number, number % 3, level=-15. - number, first_beat=0.1 * number)
                for number, each in enumerate(songs)}
    analyses.update(changes)
    return songs, analyses, draw_mixes(songs, analyses, SOURCES, mixes=mixes, seed=seed, limits=Limits())


def test_remixes_take_every_stem_from_another_song_of_the_split():
    songs, analyses, (mixes, missing) = drawn()
    splits = {each.title: each.split for each in songs}
    assert len(mixes) == 6 * 11 and not missing
    assert len({mix.name for mix in mixes}) == len(mixes)
    for mix in mixes:
        assert [part.source for part in mix.parts] == list(SOURCES)
        assert {splits[part.song] for part in mix.parts} == {mix.split}
        assert mix.anchor in {part.song for part in mix.parts}
        assert len({part.song for part in mix.parts}) == (4 if mix.split == "train" else 3)
        assert mix.tempo == analyses[mix.anchor].tempo
        for part in mix.parts:
            other = analyses[part.song]
            assert other.tempo * (1 + part.tempo_change / 100) == pytest.approx(mix.tempo, rel=1e-7)
            assert part.source == "drums" and part.pitch_shift == 0 or \
                (other.signature + part.key_change - analyses[mix.anchor].signature) % 12 == 0
            bars = (part.start - other.first_beat) / (240 / other.tempo)
            assert bars == pytest.approx(round(bars)) and 0 <= round(bars) <= BARS - mix.bars
            assert part.gain == pytest.approx(analyses[mix.anchor].level - other.level)
    for anchor in {mix.anchor for mix in mixes}:
        combinations = [tuple(part.song for part in sorted(mix.parts, key=lambda part: part.source))
                        for mix in mixes if mix.anchor == anchor]
        assert len(set(combinations)) == len(combinations)


def test_draws_depend_on_the_seed_alone():
    assert drawn()[2] == drawn()[2]
    assert drawn()[2] != drawn(seed=43)[2]
    six, nine = drawn()[2][0], drawn(mixes=9)[2][0]
    assert [mix for mix in nine if mix.name[5:7] <= "06"] == six       # more remixes keep those that were drawn


def test_reasons_for_missing_remixes():
    assert draw_mixes([song("alone")], {"alone": analysis()}, SOURCES, mixes=3, seed=1, limits=Limits()) == \
        ([], {"no other song agrees": 3})
    two = [song("a"), song("b")]
    mixes, missing = draw_mixes(two, {"a": analysis(), "b": analysis()}, SOURCES, mixes=40, seed=1, limits=Limits())
    assert 2 < len(mixes) < 80 and missing == {"all combinations are made": 80 - len(mixes)}
    short = analysis(levels={source: [-20.] * 4 for source in SOURCES})
    assert draw_mixes(two, {"a": short, "b": short}, SOURCES, mixes=1, seed=1, limits=Limits())[1] == \
        {"the songs are too short": 2}
    one = {"a": analysis(doubt="x"), "b": analysis()}
    assert draw_mixes(two, one, SOURCES, mixes=2, seed=1, limits=Limits())[1] == \
        {matching.IN_DOUBT: 2, "no other song agrees": 2}


def test_silent_stems_are_not_used():
    levels = {source: [-20.] * BARS for source in SOURCES}
    silent = analysis(100., levels={**levels, "vocals": [-90.] * BARS})
    late = analysis(100., levels={source: [-90.] * BARS + [-20.] * BARS for source in SOURCES})
    songs, _, (mixes, _) = drawn(**{"song 0": silent, "song 1": late})
    assert not [mix for mix in mixes for part in mix.parts if (part.song, part.source) == ("song 0", "vocals")]
    starts = [part.start for mix in mixes for part in mix.parts if part.song == "song 1"]
    assert starts and min(starts) >= 0.5 + 10 * 2.4 - 1e-9      # at least half of the passage plays


@pytest.mark.parametrize("title", ["x" * 300, "日本" * 100, "a/b", " .. "])
def test_names_of_folders_are_short_and_hold_no_separator(title):
    name = matching.shortened(Path(title).name)
    assert name and len(name.encode()) <= 150 and "/" not in name and not name.startswith(".")
