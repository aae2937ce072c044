"""Aggregates: computed by hand, from the published per-track files, and with the names of published logs."""

import ast
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from demucs.metrics.aggregates import (EVERY_FAMILY, FAMILIES, NSDR_MEAN, NSDR_MEDIAN, SDR_MEAN_OF_MEDIANS,
                                       SDR_MEDIAN_OF_MEDIANS, SDR_POOLED_MEAN, SDR_POOLED_MEDIAN, FamilyError,
                                       aggregate, aggregate_tracks, history_aggregates, logged_aggregate, one_family,
                                       pool)
from demucs.schema import Evaluation, TrackScores, pack_frames

SOURCES = ["drums", "bass", "other", "vocals"]
# Printed by published Demucs when it tested the student project's HDemucs after 127 and 218 epochs, rounded
LOGGED = {
    127: {"sdr": 6.087, "sdr_drums": 7.612, "sdr_bass": 6.155, "sdr_other": 4.276, "sdr_vocals": 6.306,
          "sdr_med": 6.524, "sdr_med_drums": 7.233, "sdr_med_bass": 6.988, "sdr_med_other": 4.830,
          "sdr_med_vocals": 7.047, "nsdr": 6.491, "nsdr_med": 6.709},
    218: {"sdr": 6.305, "sdr_drums": 7.807, "sdr_bass": 6.296, "sdr_other": 4.469, "sdr_vocals": 6.646,
          "sdr_med": 6.677, "sdr_med_drums": 7.347, "sdr_med_bass": 7.053, "sdr_med_other": 5.064,
          "sdr_med_vocals": 7.244, "nsdr": 6.658, "nsdr_med": 6.875}}
# Notes on variants of HTDemucs: instrumental of 50 songs, all frames pooled: mean, median, standard deviation
POOLED = {"htdemucs": (18.411, 16.347, 9.786), "42eb2890": (14.675, 11.198, 10.316)}
# The same evaluations in the other families, as they were found out
BY_TRACK = {"htdemucs": {"sdr_mean_of_medians": 17.048, "sdr_median_of_medians": 16.755, "nsdr_mean": 14.716,
                         "nsdr_median": 14.954},
            "42eb2890": {"sdr_mean_of_medians": 12.210, "sdr_median_of_medians": 11.313, "nsdr_mean": 10.633,
                         "nsdr_median": 10.065}}


def track(name, frames=None, **scores):
    return TrackScores(name=name, duration=10., seconds=1., scores=scores, frames=frames or {})


def published(folder):
    """Tracks of a folder of museval's files, each score the median over its defined frames."""
    tracks = []
    for path in sorted(folder.glob("*.json.gz")):
        with gzip.open(path, "rt") as file:
            targets = json.load(file)["targets"]
        tracks.append(track(path.name, **{
            target["name"]: {"SDR": float(np.nanmedian([frame["metrics"]["SDR"] for frame in target["frames"]]))}
            for target in targets}))
    return tracks


def test_by_hand_with_an_undefined_track():
    tracks = [track("a", drums={"nsdr": 1., "SDR": 2.}, bass={"nsdr": 0., "SDR": None}),
              track("b", drums={"nsdr": 2., "SDR": 4.}, bass={"nsdr": 4., "SDR": 5.}),
              track("c", drums={"nsdr": 6., "SDR": 9.}, bass={"nsdr": 5., "SDR": 8.})]
    evaluation = Evaluation(name="x", model="m", dataset="d", sources=["drums", "bass"], tracks=tracks, settings={},
                            model_hash="", commit="", versions={}, created="2025-01-01T00:00:00")
    assert aggregate(evaluation, NSDR_MEAN).values == {"drums": 3., "bass": 3., "all": 3.}
    assert aggregate(evaluation, NSDR_MEDIAN).values == {"drums": 2., "bass": 4., "all": 3.}
    assert aggregate(evaluation, SDR_MEAN_OF_MEDIANS).values == {"drums": 5., "bass": 6.5, "all": 5.75}
    medians = aggregate(evaluation, SDR_MEDIAN_OF_MEDIANS)
    assert medians.values == {"drums": 4., "bass": 6.5, "all": 5.25}
    assert medians.counts == {"drums": 3, "bass": 2, "all": 2} and medians.tracks == 3


def test_a_source_without_any_score_leaves_no_overall_number():
    tracks = [track("a", drums={"nsdr": 1.}, bass={"nsdr": None}), track("b", drums={"nsdr": float("nan")}, bass={})]
    result = aggregate_tracks(tracks, ["drums", "bass"], NSDR_MEAN)
    assert result.values == {"drums": 1., "bass": None, "all": None}
    assert result.counts == {"drums": 1, "bass": 0, "all": 0} and result.defined
    assert not aggregate_tracks(tracks, ["drums", "bass"], SDR_MEAN_OF_MEDIANS).defined


def test_families_are_told_apart_by_key_and_label():
    for part in ("label", "short", "key"):
        assert len({getattr(family, part) for family in EVERY_FAMILY.values()}) == len(EVERY_FAMILY) == 20
    assert all(key == family.key and "(dB)" in family.label for key, family in EVERY_FAMILY.items())
    assert len(FAMILIES) == 4 and not any(family.pooled for family in FAMILIES.values())
    assert EVERY_FAMILY["si_sdr_mean"].label == "SI-SDR (dB): whole track, mean over tracks"
    assert EVERY_FAMILY["sir_median_of_medians"].history == "sir_med"


def test_two_families_in_one_table_or_difference_are_refused():
    tracks = [track("a", bass={"nsdr": 1., "SDR": 2.}), track("b", bass={"nsdr": 2., "SDR": 5.})]
    results = [aggregate_tracks(tracks, ["bass"], family) for family in (SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS)]
    assert one_family([results[0], results[0]]) == SDR_MEAN_OF_MEDIANS
    with pytest.raises(FamilyError, match="the table must hold.*mean over tracks.*median over tracks"):
        one_family(results, where="the table")
    with pytest.raises(FamilyError, match="nothing"):
        one_family([])
    with pytest.raises(FamilyError, match="a difference"):
        results[0].minus(results[1])


def test_a_difference_of_aggregates_has_what_both_have():
    first = aggregate_tracks([track("a", bass={"nsdr": 1.}, drums={"nsdr": 2.})], ["bass", "drums"], NSDR_MEAN)
    second = aggregate_tracks([track("a", bass={"nsdr": 4.}, other={"nsdr": None})], ["bass", "other"], NSDR_MEAN)
    assert first.minus(second) == {"bass": -3., "all": None}


def test_pooled_frames_by_hand():
    """Long songs weigh more, undefined frames and songs without frames do not count; the spread is a population's."""
    tracks = [track("a", {"bass": {"SDR": pack_frames([1., float("nan"), 3.])}}, bass={"SDR": 2.}),
              track("b", {"bass": {"SDR": pack_frames([5., 7., 9., 11.])}}, bass={"SDR": 8.}),
              track("c", bass={"SDR": 100.}), track("d", {"bass": {"SDR": "- -"}}, bass={"SDR": None})]
    pooled = pool(tracks, "bass", "SDR")
    assert pooled.values.tolist() == [1., 3., 5., 7., 9., 11.] and pooled.undefined == 3 and pooled.tracks == 2
    assert (pooled.mean, pooled.median) == (6., 6.) and pooled.std == pytest.approx((70 / 6) ** 0.5, abs=1e-12)
    mean = aggregate_tracks(tracks[:2], ["bass"], SDR_POOLED_MEAN)
    assert mean.values == {"bass": 6., "all": 6.} and mean.counts == {"bass": 2, "all": 2}
    assert aggregate_tracks(tracks[:2], ["bass"], SDR_MEAN_OF_MEDIANS).values["bass"] == 5.


def test_infinite_frames_count_for_a_median_and_leave_no_mean():
    tracks = [track("a", {"bass": {"SDR": "1 2 inf"}})]
    assert aggregate_tracks(tracks, ["bass"], SDR_POOLED_MEDIAN).values["bass"] == 2.
    assert aggregate_tracks(tracks, ["bass"], SDR_POOLED_MEAN).values["bass"] is None


def test_without_frames_there_is_no_pooled_number():
    result = aggregate_tracks([track("a", bass={"SDR": 2.})], ["bass"], SDR_POOLED_MEAN)
    assert result.values == {"bass": None, "all": None} and not result.defined


def instrumental(path):
    """An evaluation in the layout of the notes on variants of HTDemucs."""
    with gzip.open(path, "rt") as file:
        tracks = json.load(file)["tracks"]
    return [track(name, {"instrumental": {"SDR": pack_frames(item["scores"]["SDR"])}},
                  instrumental={"SDR": float(np.nanmedian(item["scores"]["SDR"])), "nsdr": item["scores"]["NSDR"][0]})
            for name, item in tracks.items()]


@pytest.mark.parametrize("name", POOLED)
def test_pooled_instrumental_numbers_are_reproduced(reference, name):
    """Printed with three decimals; frames are kept with five. 12446 frames, 200 of them silent."""
    tracks = instrumental(reference / "instrumental" / f"academic_evaluation_{name}.json.gz")
    pooled = pool(tracks, "instrumental", "SDR")
    assert (pooled.mean, pooled.median, pooled.std) == pytest.approx(POOLED[name], abs=0.00051)
    assert (pooled.values.size, pooled.undefined, pooled.tracks) == (12246, 200, 50)
    families = {**FAMILIES, "sdr_pooled_mean": SDR_POOLED_MEAN, "sdr_pooled_median": SDR_POOLED_MEDIAN}
    found = {key: aggregate_tracks(tracks, ["instrumental"], family).values["all"] for key, family in families.items()}
    assert found == pytest.approx({**BY_TRACK[name], "sdr_pooled_mean": POOLED[name][0],
                                   "sdr_pooled_median": POOLED[name][1]}, abs=0.00051)
    assert max(found.values()) - min(found.values()) > 3   # the same separations: what the name of a family is for


@pytest.mark.parametrize("epochs, overall", [(127, 6.09), (218, 6.30)])
def test_logged_numbers_have_their_family(epochs, overall):
    """Also without the reference data. 6.09 and 6.30 are means over tracks; as medians they are 6.52 and 6.68."""
    mean, median = (logged_aggregate(LOGGED[epochs], family) for family in (SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS))
    assert list(mean.values) == list(median.values) == [*SOURCES, "all"]
    assert mean.values["all"] == pytest.approx(overall, abs=0.0051)
    assert median.values["all"] == pytest.approx({127: 6.52, 218: 6.68}[epochs], abs=0.0051)
    assert mean.defined and mean.counts == {} and mean.tracks is None
    assert mean.values["drums"] == LOGGED[epochs]["sdr_drums"] and median.values["drums"] != mean.values["drums"]
    with pytest.raises(FamilyError):
        mean.minus(median)
    with pytest.raises(FamilyError, match="cannot be read from a log"):
        logged_aggregate(LOGGED[epochs], SDR_POOLED_MEAN)


def test_a_log_without_the_family_gives_nothing():
    result = logged_aggregate({"nsdr_bass": 1., "nsdr_drums": float("nan")}, NSDR_MEAN)
    assert result.values == {"bass": 1., "drums": None, "all": None}
    assert not logged_aggregate({"nsdr_bass": 1.}, SDR_MEAN_OF_MEDIANS).defined


@pytest.mark.parametrize("epochs, log", [(127, "test_759c9a58_127_epochs.out"), (218, "test_44f697b5_218_epochs.out")])
def test_the_committed_logs_are_the_published_ones(reference, epochs, log):
    printed = ast.literal_eval((reference / "runs" / log).read_text())
    for name, value in LOGGED[epochs].items():
        assert printed[name] == pytest.approx(value, abs=0.00051), name
    for family in FAMILIES.values():
        assert logged_aggregate(printed, family).values["all"] == pytest.approx(printed[family.history], abs=1e-12)


def test_demucs_v2_is_reproduced_in_both_families(reference):
    """Published per source, the mean over three seeds of each seed's aggregate: 6.86 7.01 4.42 6.84 (medians), 7.32
    6.27 4.02 5.86 (means). tests/metrics/test_statistics.py does so from committed numbers."""
    runs = [published(reference / "museval" / f"demucs-v2-seed{seed}") for seed in (42, 43, 44)]
    assert [len(run) for run in runs] == [50, 50, 50]
    for family, expected in ((SDR_MEDIAN_OF_MEDIANS, [6.86, 7.01, 4.42, 6.84, 6.28]),
                             (SDR_MEAN_OF_MEDIANS, [7.32, 6.27, 4.02, 5.86, 5.87])):
        results = [aggregate_tracks(run, SOURCES, family).values for run in runs]
        means = [np.mean([result[source] for result in results]) for source in [*SOURCES, "all"]]
        np.testing.assert_allclose(means, expected, atol=0.0051)   # printed with two decimals


def test_open_unmix_is_reproduced_in_both_families(reference):
    tracks = published(reference / "museval" / "open-unmix")
    for family, expected in ((SDR_MEDIAN_OF_MEDIANS, [5.73, 5.23, 4.02, 6.32, 5.33]),
                             (SDR_MEAN_OF_MEDIANS, [6.34, 4.85, 3.63, 5.14, 4.99])):
        values = aggregate_tracks(tracks, SOURCES, family).values
        np.testing.assert_allclose([values[key] for key in [*SOURCES, "all"]], expected, atol=0.0051)


def full_tracks():
    rng = np.random.default_rng(3)
    return [track(str(number), **{
        source: {metric: float(rng.normal(5, 3)) for metric in ("nsdr", "SDR", "SIR", "ISR", "SAR")}
        for source in SOURCES}) for number in range(7)]


@pytest.mark.parametrize("log", ["test_759c9a58_127_epochs.out", "test_44f697b5_218_epochs.out"])
def test_history_names_are_those_of_published_logs(reference, log):
    printed = ast.literal_eval((reference / "runs" / log).read_text())
    assert set(history_aggregates(full_tracks(), SOURCES)) == set(printed)


def test_published_overall_numbers_are_means_over_sources(reference):
    printed = ast.literal_eval((reference / "runs" / "test_44f697b5_218_epochs.out").read_text())
    assert round(printed["sdr"], 2) == 6.30 and round(printed["sdr_med"], 2) == 6.68
    for family in FAMILIES.values():
        mean = np.mean([printed[f"{family.history}_{source}"] for source in SOURCES])
        assert printed[family.history] == pytest.approx(mean, abs=1e-12)


def test_history_numbers_are_the_families_numbers():
    tracks = full_tracks()
    flat = history_aggregates(tracks, SOURCES)
    for family in FAMILIES.values():
        values = aggregate_tracks(tracks, SOURCES, family).values
        assert flat[family.history] == values["all"]
        assert all(flat[f"{family.history}_{source}"] == values[source] for source in SOURCES)
    assert flat["sir_med_bass"] == np.median([item.scores["bass"]["SIR"] for item in tracks])


def test_undefined_numbers_have_no_entry_in_a_history():
    flat = history_aggregates([track("a", drums={"nsdr": 1., "SDR": None}, bass={"nsdr": 3., "SDR": 2.})],
                              ["drums", "bass"])
    assert flat == {"nsdr_drums": 1., "nsdr_bass": 3., "nsdr": 2., "nsdr_med_drums": 1., "nsdr_med_bass": 3.,
                    "nsdr_med": 2., "sdr_bass": 2., "sdr_med_bass": 2.}
    assert history_aggregates([], SOURCES) == {}


@pytest.mark.runs
def test_aggregates_need_no_torch(repository):
    code = ("import sys; sys.modules['torch'] = None; import demucs.metrics.aggregates; "
            "assert not [m for m in sys.modules if m.split('.')[0] in ('museval', 'torchaudio', 'scipy')]")
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
