"""BSSEval through museval: its SDR against the closed form, undefined frames, and bad input."""

import numpy as np
import pytest

from demucs.errors import AudioError
from demucs.metrics.bsseval import METRICS, bss_eval, frame_medians

RATE = 1000   # Hz; a low rate keeps museval's 512-tap filters affordable


def signals(sources=2, seconds=3., channels=2, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    shape = (sources, int(seconds * RATE), channels)
    references = rng.standard_normal(shape)
    return references, references + noise * rng.standard_normal(shape)


@pytest.mark.parametrize("sources, channels", [(1, 1), (1, 2), (3, 2)])
def test_sdr_is_the_plain_ratio_of_every_whole_second(sources, channels):
    references, estimates = signals(sources, 3.7, channels)
    frames = bss_eval(references, estimates, RATE)
    assert list(frames) == list(METRICS)
    assert all(values.shape == (sources, 3) for values in frames.values())   # the last 0.7 s are dropped
    blocks = references[:, :3 * RATE].reshape(sources, 3, RATE, channels)
    errors = blocks - estimates[:, :3 * RATE].reshape(blocks.shape)
    expected = 10 * np.log10((blocks ** 2).sum((2, 3)) / (errors ** 2).sum((2, 3)))
    np.testing.assert_allclose(frames["SDR"], expected, atol=1e-9)


def test_measures_tell_the_kinds_of_error_apart():
    """Half the level costs ISR, the other source SIR, noise SAR. 20 s, since 2048 taps fit noise of a few seconds."""
    references, noisy = signals(seconds=20., noise=0.5)
    estimates = {"ISR": 0.5 * references, "SIR": references + 0.5 * references[::-1], "SAR": noisy}
    for costs, estimate in estimates.items():
        medians = frame_medians(bss_eval(references, estimate, RATE))[0]
        assert medians["SDR"] == pytest.approx(6., abs=0.5)   # each error carries a quarter of the energy
        assert medians[costs] == pytest.approx(6., abs=1.5)
        assert all(medians[other] is None or medians[other] > 12 for other in {"ISR", "SIR", "SAR"} - {costs})


def test_a_track_shorter_than_the_window_is_one_frame():
    references, estimates = signals(seconds=0.8)
    assert bss_eval(references, estimates, RATE)["SDR"].shape == (2, 1)


def test_a_frame_with_any_silent_source_is_undefined_for_all_and_left_out_of_the_median():
    references, estimates = signals()
    references[0, RATE:2 * RATE] = 0
    frames = bss_eval(references, estimates, RATE)
    assert np.isnan(frames["SDR"]).tolist() == [[False, True, False]] * 2
    for source, medians in enumerate(frame_medians(frames)):
        assert medians["SDR"] == pytest.approx(frames["SDR"][source, [0, 2]].mean(), abs=1e-12)


@pytest.mark.parametrize("silent", ["reference", "estimate"])
def test_a_silent_track_is_undefined_instead_of_an_exception(silent):
    references, estimates = signals()
    (references if silent == "reference" else estimates)[1] = 0
    frames = bss_eval(references, estimates, RATE)
    assert all(np.isnan(values).all() and values.shape == (2, 3) for values in frames.values())
    assert frame_medians(frames) == [dict.fromkeys(METRICS)] * 2


def test_an_exact_copy_has_no_number():
    references, estimates = signals(sources=1)
    estimates[:] = references
    assert frame_medians(bss_eval(references, estimates, RATE))[0]["SDR"] is None


def test_linearly_dependent_sources_are_solved_by_least_squares(monkeypatch):
    references, estimates = signals(seconds=1.)
    expected = bss_eval(references, estimates, RATE)

    def singular(*_):
        raise np.linalg.LinAlgError("Singular matrix")
    monkeypatch.setattr(np.linalg, "solve", singular)
    frames = bss_eval(references, estimates, RATE)
    np.testing.assert_allclose(frames["SDR"], expected["SDR"], atol=1e-9)
    np.testing.assert_allclose(frames["SIR"], expected["SIR"], atol=1e-3)


@pytest.mark.parametrize("references, estimates", [
    ((2, 10, 2), (2, 11, 2)), ((2, 10), (2, 10)), ((2, 0, 2), (2, 0, 2))])
def test_wrong_shapes_are_refused(references, estimates):
    with pytest.raises(AudioError, match="BSSEval"):
        bss_eval(np.zeros(references), np.zeros(estimates), RATE)
