"""Scores of sums of sources: their definitions, with all other scores unchanged."""

import numpy as np
import pytest
import torch
from golden.evaluation_cases import STEMS

from demucs.evaluation.scoring import METRICS, score, sums_of
from demucs.metrics.aggregates import SDR_POOLED_MEAN, aggregate_tracks, history_aggregates
from demucs.schema import TrackScores, unpack_frames

RATE = 1000


@pytest.fixture(scope="module")
def signals():
    """Four mono stems of 5.5 s and estimates; in the first second the vocals are silent, in the second all but them."""
    draw = torch.Generator().manual_seed(0)
    references = torch.randn(4, 1, 5500, generator=draw) * torch.tensor([1., 0.5, 0.3, 0.8])[:, None, None]
    references[3, :, :RATE] = 0
    references[:3, :, RATE:2 * RATE] = 0
    estimates = references + 0.2 * references.roll(1, 0) + 0.1 * torch.randn(4, 1, 5500, generator=draw)
    return references, estimates


def ratio(reference, error):
    return float(10 * torch.log10(reference.double().square().sum() / error.double().square().sum()))


def test_the_instrumental_is_one_reference(signals):
    references, estimates = signals
    scores = score(references, estimates, STEMS, RATE, metrics=("nsdr", "si_sdr", "bsseval"), sums=True)
    assert set(scores.scores["instrumental"]) == {"nsdr", "si_sdr", "SDR", "ISR", "SAR"}      # no interference
    true, found = references[:3].sum(0), estimates[:3].sum(0)
    assert scores.scores["instrumental"]["nsdr"] == pytest.approx(ratio(true, true - found), abs=1e-5)
    frames = unpack_frames(scores.frames["instrumental"]["SDR"])
    expected = [ratio(true[:, a:a + RATE], (true - found)[:, a:a + RATE]) for a in (0, 2 * RATE)]
    assert [frames[0], frames[2]] == pytest.approx(expected, abs=1e-4)
    assert len(frames) == 5 and np.isnan(frames).tolist() == [False, True, False, False, False], "only its own silence"
    assert np.isnan(unpack_frames(scores.frames["drums"]["SDR"])[:2]).all(), "here that of any source counts"
    metrics = pytest.importorskip("museval.metrics")
    if not hasattr(np.linalg, "linalg"):
        np.linalg.linalg = np.linalg
    museval = metrics.bss_eval(true.T[None].double().numpy(), found.T[None].double().numpy(), window=RATE, hop=RATE)
    for name, values in zip(("SDR", "ISR", "SIR", "SAR"), museval):
        if name != "SIR":
            np.testing.assert_allclose(unpack_frames(scores.frames["instrumental"][name]), values[0], atol=1e-3)


def test_two_stems(signals):
    references, estimates = signals
    scores = score(references, estimates, STEMS, RATE, metrics=("nsdr", "si_sdr", "bsseval"), sums=True)
    assert set(scores.scores) == {*STEMS, "no_drums", "no_bass", "no_other", "instrumental"}
    true, found = references[[0, 2, 3]].sum(0), estimates[[0, 2, 3]].sum(0)
    assert set(scores.scores["no_bass"]) == {"nsdr", "si_sdr", "SDR"}
    assert scores.scores["no_bass"]["nsdr"] == pytest.approx(ratio(true, true - found), abs=1e-5)
    assert not np.isnan(unpack_frames(scores.frames["no_bass"]["SDR"])).any()


def test_the_sources_have_the_same_scores_without_sums(signals):
    names = ("nsdr", "si_sdr", "bsseval")
    alone, both = (score(*signals, STEMS, RATE, metrics=names, sums=sums) for sums in (False, True))
    assert list(alone.scores) == list(STEMS)
    for source in STEMS:
        assert alone.scores[source] == both.scores[source] and alone.frames[source] == both.frames[source]
    assert (alone.condition, alone.ill_conditioned) == (both.condition, both.ill_conditioned)
    assert alone.condition > 1e-6 and alone.ill_conditioned is False
    first, second = ([TrackScores(name="x", duration=5.5, seconds=0., scores=each.scores, frames=each.frames)]
                     for each in (alone, both))
    assert history_aggregates(first, STEMS) == history_aggregates(second, STEMS)
    assert aggregate_tracks(first, STEMS, SDR_POOLED_MEAN) == aggregate_tracks(second, STEMS, SDR_POOLED_MEAN)


def test_metrics_that_are_asked_for(signals):
    expected = {"nsdr": {"nsdr"}, "si_sdr": {"si_sdr"}, "sdr": {"SDR"}, "bsseval": {"SDR", "ISR", "SIR", "SAR"}}
    for metric in METRICS:
        scores = score(*signals, STEMS, RATE, metrics=(metric,))
        assert set(scores.scores["drums"]) == expected[metric]
        assert set(scores.frames.get("drums", {})) == (expected[metric] if "SDR" in expected[metric] else set())
        assert (scores.condition is not None) == (scores.ill_conditioned is not None) == (metric == "bsseval")


def test_which_sums_there_are():
    assert sums_of(["a", "b"]) == {} and sums_of(["vocals", "instrumental"]) == {}
    assert sums_of(["a", "vocals", "b"]) == {"no_a": [1, 2], "instrumental": [0, 2], "no_b": [0, 1]}
    assert sums_of(["a", "b", "no_a"]) == {"no_b": [0, 2], "no_no_a": [0, 1]}


def test_nothing_is_left(signals):
    """A source that is silent all through, and an exact copy."""
    references, estimates = (wav.clone() for wav in signals)
    references[0], estimates[1] = 0, references[1]
    scores = score(references, estimates, STEMS, RATE, metrics=("nsdr", "si_sdr", "bsseval"), sums=True)
    assert {name for name, value in scores.scores["drums"].items() if value is not None} == {"nsdr"}
    assert scores.scores["bass"]["si_sdr"] is None and scores.scores["bass"]["nsdr"] > 70
    assert scores.condition is None and scores.ill_conditioned is False
    assert scores.scores["instrumental"]["SDR"] is not None


@pytest.mark.gpu
def test_a_gpu_gives_the_same_scores(signals):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    names = ("nsdr", "si_sdr", "bsseval")
    here = score(*signals, STEMS, RATE, metrics=names, sums=True)
    there = score(*(wav.cuda() for wav in signals), STEMS, RATE, metrics=names, sums=True)
    assert there.ill_conditioned == here.ill_conditioned and list(there.scores) == list(here.scores)
    for name, scores in here.scores.items():
        assert list(there.scores[name]) == list(scores) and list(there.frames[name]) == list(here.frames[name])
        for metric, value in scores.items():
            assert there.scores[name][metric] == pytest.approx(value, abs=1e-4), (name, metric)     # dB
