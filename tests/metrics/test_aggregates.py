"""Aggregates: by hand, on the published per-track files, and under the names of published logs."""

import ast
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from demucs.metrics.aggregates import (FAMILIES, NSDR_MEAN, NSDR_MEDIAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS,
                                       aggregate, aggregate_tracks, history_aggregates)
from demucs.schema import Evaluation, TrackScores

SOURCES = ["drums", "bass", "other", "vocals"]


def track(name, **scores):
    return TrackScores(name=name, duration=10., seconds=1., scores=scores)


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
    assert len({family.label for family in FAMILIES.values()}) == len(FAMILIES) == 4
    assert all(key == family.key and "(dB)" in family.label for key, family in FAMILIES.items())


def test_demucs_v2_is_reproduced_in_both_families(reference):
    """Published per source, the mean over three seeds: 6.86 7.01 4.42 6.84 (medians), 7.32 6.27 4.02 5.86 (means)."""
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


def test_aggregates_need_no_torch(repository):
    code = ("import sys; sys.modules['torch'] = None; import demucs.metrics.aggregates; "
            "assert not [m for m in sys.modules if m.split('.')[0] in ('museval', 'torchaudio', 'scipy')]")
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
