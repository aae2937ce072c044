"""Paired comparisons: computed by hand, against scipy, by simulation, and for three seeds of Demucs v2."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demucs.errors import ConfigError, DatasetError
from demucs.metrics.aggregates import (ALL, EVERY_FAMILY, NSDR_MEAN, NSDR_MEDIAN, SDR_MEAN_OF_MEDIANS,
                                       SDR_MEDIAN_OF_MEDIANS, SDR_POOLED_MEAN, FamilyError, aggregate)
from demucs.metrics.bootstrap import bootstrap_interval, interval_of
from demucs.metrics.statistics import (BETTER, FEWEST, UNCLEAR, WORSE, beside_seeds, compare, describe, seed_spread,
                                       signed_rank)
from demucs.schema import Evaluation, TrackScores

SEEDS = Path(__file__).with_name("demucs_v2_seeds.csv")


def evaluation(name, scores, *, metric="nsdr", dataset="songs", settings=None, names=None):
    """An evaluation from `scores[source]`, one number or None per track."""
    count = len(next(iter(scores.values())))
    tracks = [TrackScores(name=names[place] if names else f"song {place}", duration=10., seconds=0.,
                          scores={source: {metric: values[place]} for source, values in scores.items()})
              for place in range(count)]
    return Evaluation(name=name, model="m", dataset=dataset, sources=list(scores), tracks=tracks,
                      settings=settings or {}, model_hash="", commit="", versions={}, created="")


def seeds():
    """Three seeds of Demucs v2: median over frames of the SDR of every test track, as its authors published."""
    with SEEDS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sources = ["drums", "bass", "other", "vocals"]
    names = sorted({row["track"] for row in rows})
    return [evaluation(f"seed {seed}", {source: [float(row[f"seed{seed}"]) for row in sorted(
        rows, key=lambda row: row["track"]) if row["source"] == source] for source in sources}, metric="SDR",
        dataset="MUSDB18 test", names=names) for seed in (42, 43, 44)]


def random_pair(count, *, seed=0, sources=("bass", "drums"), shift=0.3):
    rng = np.random.default_rng(seed)
    base = {source: rng.normal(5, 3, count) for source in sources}
    return (evaluation("ours", {source: list(values + rng.normal(shift, 1, count)) for source, values in base.items()}),
            evaluation("theirs", {source: list(values) for source, values in base.items()}))


def test_by_hand():
    first = evaluation("a", {"bass": [1., 2., 3., 4., 10.], "drums": [0., 0., 0., 0., 0.]})
    second = evaluation("b", {"bass": [2., 1., 2., 1., 3.], "drums": [0., 0., 1., 0.003, -1.]})
    found = compare(first, second, NSDR_MEAN)
    bass, drums, both = (found.differences[source] for source in ("bass", "drums", ALL))
    assert bass.values == (-1., 1., 1., 3., 7.) and bass.value == pytest.approx(2.2, abs=1e-12)
    assert (bass.won, bass.lost, bass.tied, bass.dropped) == (4, 1, 0, 0)
    assert drums.values == (0., 0., -1., -0.003, 1.) and (drums.won, drums.lost, drums.tied) == (1, 1, 3)
    assert both.values == pytest.approx((-0.5, 0.5, 0., 1.4985, 4.), abs=1e-12)
    assert both.value == pytest.approx((2.2 - 0.0006) / 2, abs=1e-12) == both.of_aggregates
    assert bass.tracks == tuple(f"song {number}" for number in range(5))
    median = compare(first, second, NSDR_MEDIAN).differences["bass"]
    assert median.value == 1. and median.of_aggregates == 3. - 2.


def test_the_other_way_round_is_the_mirror_image():
    first, second = random_pair(30)
    there = compare(first, second, NSDR_MEAN, method="percentile").differences["bass"]
    back = compare(second, first, NSDR_MEAN, method="percentile").differences["bass"]
    assert back.value == -there.value and back.p_value == there.p_value
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert (back.won, back.lost) == (there.lost, there.won)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("across", ["mean", "median"])
@pytest.mark.parametrize("count", [7, 50])
def test_intervals_are_those_of_scipy(method, across, count):
    """From the same generator scipy draws the same tracks, so the ends agree to rounding."""
    values = np.random.default_rng(count).gamma(1.5, 1., count) - 1
    ours = bootstrap_interval(values, across, method=method, resamples=2000, seed=5, expand=False)
    theirs = stats.bootstrap((values,), getattr(np, across), method={"bca": "BCa"}.get(method, method),
                             n_resamples=2000, rng=np.random.default_rng(5), vectorized=True).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_of_subtracted_medians_is_that_of_scipy(method):
    samples = np.random.default_rng(6).normal(5, 3, (2, 25)) + np.array([[0.3], [0.]])

    def subtracted(first, second, axis):
        return np.median(first, axis=axis) - np.median(second, axis=axis)
    theirs = stats.bootstrap(
        list(samples), subtracted, paired=True, vectorized=True, method={"bca": "BCa"}.get(method, method),
        n_resamples=2000, rng=np.random.default_rng(5)).confidence_interval
    ours = interval_of(samples, lambda both, axis: subtracted(*both, axis=axis), level=0.95, method=method,
                       resamples=2000, seed=5, expand=False)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_subtracted_medians_are_drawn_in_pairs():
    """What `compare` gives is the interval of the two rows of scores, drawn together."""
    first, second = random_pair(25, sources=("bass",))
    found = compare(first, second, NSDR_MEDIAN, resamples=2000, seed=5).differences["bass"]
    scores = np.array([[track.scores["bass"]["nsdr"] for track in sorted(item.tracks, key=lambda track: track.name)]
                       for item in (first, second)])
    assert found.of_aggregates_interval == interval_of(
        scores, lambda both, axis: np.median(both[0], axis=axis) - np.median(both[1], axis=axis), level=0.95,
        method="percentile", resamples=2000, seed=5)
    assert found.of_aggregates_interval != found.interval


def test_the_mean_of_a_large_sample_has_the_interval_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(0.2, 1., 400)
    half = 1.959964 * values.std() / 20
    for method in ("percentile", "bca"):
        interval = bootstrap_interval(values, "mean", method=method)
        assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_intervals_are_seeded_and_widen_with_the_level():
    values = np.random.default_rng(2).normal(0, 1, 40)
    assert bootstrap_interval(values, "mean", seed=3) == bootstrap_interval(values, "mean", seed=3)
    assert bootstrap_interval(values, "mean", seed=3) != bootstrap_interval(values, "mean", seed=4)
    narrow, wide = (bootstrap_interval(values, "mean", level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("across, draw, truth", [
    ("mean", lambda rng, count: rng.gamma(2., 1., count), 2.),
    ("median", lambda rng, count: rng.gamma(2., 1., count), stats.gamma.median(2.)),
    ("mean", lambda rng, count: rng.standard_t(5, count), 0.),
    ("median", lambda rng, count: rng.standard_t(5, count), 0.)])
@pytest.mark.parametrize("count, least", [(5, 0.88), (12, 0.91), (50, 0.92)])
def test_intervals_cover_as_often_as_they_say(across, draw, truth, count, least):
    """95 % nominal. 400 samples have a standard error of 1.1 points."""
    rng = np.random.default_rng(11)
    hits = 0
    for number in range(400):
        interval = bootstrap_interval(draw(rng, count), across, resamples=500, seed=number)
        hits += interval.low <= truth <= interval.high
    assert least <= hits / 400 <= 0.985


def test_intervals_that_are_not_expanded_cover_too_little_of_few_tracks():
    rng = np.random.default_rng(11)
    hits = {True: 0, False: 0}
    for number in range(300):
        values = rng.standard_normal(5)
        for expand in hits:
            interval = bootstrap_interval(values, "mean", resamples=1000, seed=number, expand=expand)
            hits[expand] += interval.low <= 0 <= interval.high
    assert hits[False] / 300 < 0.87 < 0.88 < hits[True] / 300


@pytest.mark.parametrize("count, most", [(5, 0.12), (12, 0.09), (50, 0.08)])
def test_equal_separators_are_rarely_called_better_or_worse(count, most):
    """5 % nominal."""
    rng = np.random.default_rng(12)
    claims = 0
    for number in range(300):
        first = evaluation("a", {"bass": list(rng.standard_normal(count))})
        second = evaluation("b", {"bass": [0.] * count})
        claims += compare(first, second, NSDR_MEAN, resamples=300, seed=number).differences["bass"].verdict != UNCLEAR
    assert 0 < claims / 300 <= most


def test_a_clear_difference_is_called_better_and_its_opposite_worse():
    first, second = random_pair(40, shift=1.)
    assert compare(first, second, NSDR_MEAN).differences["bass"].verdict == BETTER
    assert compare(second, first, NSDR_MEAN).differences["bass"].verdict == WORSE


def test_the_same_evaluation_twice_is_not_distinguishable():
    first, _ = random_pair(12)
    found = compare(first, dataclasses.replace(first, name="again"), NSDR_MEAN)
    for difference in found.differences.values():
        assert difference.value == difference.interval.low == difference.interval.high == 0.
        assert difference.verdict == UNCLEAR and difference.p_value == 1. and difference.tied == 12


def test_a_constant_difference_has_an_interval_without_width():
    interval = bootstrap_interval([0.5] * 9, "mean")
    assert interval.low == interval.high == 0.5 and interval.excludes_zero
    first, _ = random_pair(30)
    second = evaluation("b", {source: [track.scores[source]["nsdr"] - 0.1 for track in first.tracks]
                              for source in first.sources})
    found = compare(first, second, NSDR_MEDIAN)
    assert found.notes == () and found.differences[ALL].verdict == BETTER


def test_the_signed_rank_test_by_hand():
    """Differences 1 to 5, all positive: 1 of 32 assignments of signs is as extreme on either side."""
    assert signed_rank([1., 2., 3., 4., 5.]) == pytest.approx(2 / 32, abs=1e-12)
    assert signed_rank([1., 2., 3., 4., -5.]) == pytest.approx(2 * 10 / 32, abs=1e-12)   # rank sums of at most 5: 10
    assert signed_rank([0., 0., 0., 0., 0.]) == 1.


def test_tracks_that_one_lacks_do_not_count_and_are_told():
    first, second = random_pair(30)
    fewer = dataclasses.replace(second, tracks=second.tracks[4:])
    found = compare(first, fewer, NSDR_MEAN)
    assert found.tracks == 26 and set(found.differences["bass"].tracks) == {f"song {n}" for n in range(4, 30)}
    assert found.notes == ("Compared on the 26 tracks that both have (ours has 30, theirs has 26).",)
    assert compare(first, second, NSDR_MEAN).notes == ()


def test_tracks_are_paired_by_name_whatever_their_order():
    first, second = random_pair(30)
    expected = compare(first, second, NSDR_MEAN).differences
    turned = [dataclasses.replace(item, tracks=item.tracks[::-1]) for item in (first, second)]
    assert compare(first, turned[1], NSDR_MEAN).differences == compare(*turned, NSDR_MEAN).differences == expected


def test_undefined_scores_drop_a_track_for_its_source_and_for_the_mean():
    first, second = random_pair(30)
    first.tracks[3].scores["bass"]["nsdr"] = None
    second.tracks[5].scores["bass"].pop("nsdr")
    found = compare(first, second, NSDR_MEAN)
    counts = {source: (len(item.values), item.dropped) for source, item in found.differences.items()}
    assert counts == {"bass": (28, 2), "drums": (30, 0), ALL: (28, 2)}
    assert "bass: 2 of 30 tracks have no score in one of the two and do not count." in found.notes


def test_a_source_that_hardly_any_track_scores_is_left_out():
    first, second = random_pair(30)
    for track in first.tracks[4:]:
        track.scores["bass"]["nsdr"] = None
    found = compare(first, second, NSDR_MEAN)
    assert list(found.differences) == ["drums"]
    assert "bass is left out: only 4 tracks have a score in both, fewer than 5." in found.notes


def test_what_is_not_alike_is_told():
    first, second = random_pair(30)
    second = dataclasses.replace(second, dataset="other songs", settings={"shifts": 10, "seed": 1})
    first = dataclasses.replace(first, settings={"shifts": 1, "seed": 0})
    more = dataclasses.replace(first, sources=["bass", "drums", "piano"])
    notes = " ".join(compare(more, second, NSDR_MEAN).notes)
    assert "ours on songs, theirs on other songs" in notes and "compared on bass, drums" in notes
    assert "shifts=1 for ours, 10 for theirs" in notes and "seed=" not in notes


def test_tracks_from_other_files_are_told():
    first, second = random_pair(30)
    for place, prints in enumerate([("a", "a"), ("a", "b"), ("", "b")]):
        for item, fingerprint in zip((first, second), prints):
            item.tracks[place] = dataclasses.replace(item.tracks[place], fingerprint=fingerprint)
    notes = compare(first, second, NSDR_MEAN).notes
    assert len(notes) == 1 and notes[0].startswith("1 of 30 tracks were read from files with another content")


def test_ill_conditioned_tracks_are_told_where_it_matters():
    sir = [evaluation(name, {"bass": list(np.random.default_rng(3).normal(0, 1, 30))}, metric="SIR") for name in "ab"]
    sir[1].tracks[4] = dataclasses.replace(sir[1].tracks[4], ill_conditioned=True)
    notes = compare(*sir, EVERY_FAMILY["sir_mean_of_medians"]).notes
    assert notes == ("1 of 30 tracks are ill-conditioned: there SIR depends on rounding errors.",)
    first, second = random_pair(30)
    first.tracks[4] = dataclasses.replace(first.tracks[4], ill_conditioned=True)
    assert compare(first, second, NSDR_MEAN).notes == ()


def test_few_tracks_are_told():
    first, second = random_pair(FEWEST)
    assert any(note.startswith("5 tracks are few") for note in compare(first, second, NSDR_MEAN).notes)


def test_too_few_shared_tracks_are_refused():
    first, second = random_pair(30)
    with pytest.raises(DatasetError, match="share 4 tracks"):
        compare(first, dataclasses.replace(second, tracks=second.tracks[:4]), NSDR_MEAN)
    with pytest.raises(DatasetError, match="share no source"):
        compare(first, dataclasses.replace(second, sources=["piano"]), NSDR_MEAN)
    with pytest.raises(DatasetError, match="evaluate them with that metric"):
        compare(first, second, SDR_MEAN_OF_MEDIANS)
    with pytest.raises(DatasetError, match="occurs twice"):
        compare(dataclasses.replace(first, tracks=first.tracks * 2), second, NSDR_MEAN)


def test_pooled_families_have_nothing_to_pair():
    with pytest.raises(FamilyError, match="sdr_mean_of_medians"):
        compare(*random_pair(30), SDR_POOLED_MEAN)


@pytest.mark.parametrize("options", [{"method": "t"}, {"level": 95.}, {"resamples": 10}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigError):
        bootstrap_interval([1., 2., 3.], "mean", **options)


def test_samples_without_a_spread_are_refused():
    for values in ([1.], [1., float("nan")]):
        with pytest.raises(DatasetError):
            bootstrap_interval(values, "mean")


def test_the_mean_over_seeds_of_their_aggregates_is_what_demucs_v2_prints():
    """6.86 7.01 4.42 6.84: not the median of all 150 tracks, nor of means over seeds, which are up to 0.24 dB away."""
    runs = seeds()
    printed = {"drums": 6.86, "bass": 7.01, "other": 4.42, "vocals": 6.84, ALL: 6.28}
    spreads = seed_spread(runs, SDR_MEDIAN_OF_MEDIANS)
    assert {source: spread.mean for source, spread in spreads.items()} == pytest.approx(printed, abs=0.0051)
    bass = np.array([[track.scores["bass"]["SDR"] for track in run.tracks] for run in runs])
    assert np.median(bass) == pytest.approx(7.17, abs=0.005)
    assert np.median(bass.mean(axis=0)) == pytest.approx(7.25, abs=0.005)


def test_the_spread_over_seeds_by_hand():
    spread = seed_spread(seeds(), SDR_MEDIAN_OF_MEDIANS)["bass"]
    assert spread.values == pytest.approx((6.581, 7.084, 7.370), abs=0.001)
    assert spread.range == pytest.approx(0.790, abs=0.001)
    assert spread.deviation == pytest.approx(np.std(spread.values) * (3 / 2) ** 0.5, abs=1e-12)


def test_the_committed_seeds_are_the_published_ones(reference):
    import gzip
    import json
    for run, seed in zip(seeds(), (42, 43, 44)):
        for track in run.tracks:
            with gzip.open(reference / "museval" / f"demucs-v2-seed{seed}" / f"{track.name}.json.gz", "rt") as file:
                targets = json.load(file)["targets"]
            for target in targets:
                median = np.nanmedian([frame["metrics"]["SDR"] for frame in target["frames"]])
                assert track.scores[target["name"]]["SDR"] == pytest.approx(median, abs=1e-5)   # five decimals


def test_two_seeds_differ_less_in_pairs_than_their_medians_do():
    """Seed 43 has 0.50 dB more bass in the median family, yet loses 28 of 50 songs: a table of aggregates misleads."""
    first, second, third = seeds()
    found = compare(first, second, SDR_MEDIAN_OF_MEDIANS)
    bass = found.differences["bass"]
    assert bass.of_aggregates == pytest.approx(-0.50, abs=0.005) and bass.value == pytest.approx(0.10, abs=0.005)
    assert (bass.won, bass.lost) == (28, 22) and bass.verdict == UNCLEAR
    assert any(note.startswith("bass: subtracting the two medians gives -0.50 dB") for note in found.notes)
    told = beside_seeds(bass, seed_spread([first, second, third], SDR_MEDIAN_OF_MEDIANS)["bass"])
    assert told == ("bass: 3 seeds of one configuration have a range of 0.79 dB (standard deviation 0.40 dB); the "
                    "difference of 0.50 dB between the aggregates is no larger than that: another seed alone can make "
                    "such a difference.")


def test_a_difference_larger_than_seeds_make_is_told_in_their_units():
    first, second, third = seeds()
    for track in first.tracks:
        for source in track.scores.values():
            source["SDR"] += 2.
    spread = seed_spread(seeds(), SDR_MEAN_OF_MEDIANS)[ALL]
    found = compare(first, second, SDR_MEAN_OF_MEDIANS).differences[ALL]
    assert f"is {found.of_aggregates / spread.range:.1f} times that." in beside_seeds(found, spread)
    with pytest.raises(FamilyError):
        beside_seeds(found, seed_spread(seeds(), SDR_MEDIAN_OF_MEDIANS)[ALL])


def test_seeds_on_other_tracks_are_refused():
    first, second, _ = seeds()
    with pytest.raises(DatasetError, match="at least two"):
        seed_spread([first], SDR_MEAN_OF_MEDIANS)
    with pytest.raises(DatasetError, match="different tracks"):
        seed_spread([first, dataclasses.replace(second, tracks=second.tracks[1:])], SDR_MEAN_OF_MEDIANS)


def test_the_line_on_a_difference_has_its_interval_family_and_verdict():
    first, second, _ = seeds()
    vocals = compare(first, second, SDR_MEAN_OF_MEDIANS).differences["vocals"]
    assert describe(vocals) == (
        f"vocals: +0.09 dB (95% interval {vocals.interval.low:+.2f} to {vocals.interval.high:+.2f}, SDR, mean over 50 "
        f"paired tracks), better on 38, worse on 12, tied on 0, signed-rank p < 0.001: not distinguishable "
        f"(the interval over songs includes zero)")


def test_values_are_those_of_the_aggregates():
    first, second, _ = seeds()
    for family in (SDR_MEDIAN_OF_MEDIANS, SDR_MEAN_OF_MEDIANS):
        expected = aggregate(first, family).minus(aggregate(second, family))
        found = compare(first, second, family).differences
        assert {source: item.of_aggregates for source, item in found.items()} == pytest.approx(expected, abs=1e-12)
        assert family.across == "median" or {source: item.value for source, item in found.items()} == pytest.approx(
            expected, abs=1e-12)


@pytest.mark.runs
def test_statistics_need_no_torch(repository):
    code = "import sys; import demucs.metrics.statistics; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
