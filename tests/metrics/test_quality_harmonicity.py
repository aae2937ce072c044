"""Harmonicity equals Praat's, and is correct for sounds with a known ratio."""

from pathlib import Path

import numpy as np
import pytest
from golden.quality_cases import HNR_SETTINGS, peer, sounds

from demucs.errors import AudioError
from demucs.metrics.quality.harmonicity import harmonicity, hnr

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "quality.npz"
SOUNDS = sounds()
CASES = [(name, label) for name in SOUNDS for label in HNR_SETTINGS]
CLEAR = 50.            # dB: above, what is not periodic is a matter of rounding
TOLERANCE, LOOSE, OF_MEANS = 0.01, 0.1, 0.005      # dB: of a frame below and above that; of the mean over frames


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape and np.array_equal(np.isnan(ours), np.isnan(theirs))
    voiced = ~np.isnan(theirs)
    difference = np.abs(ours - theirs)[voiced]
    clear = theirs[voiced] < CLEAR
    assert difference[clear].max(initial=0) < TOLERANCE and difference.max(initial=0) < LOOSE
    if voiced.any():
        assert abs(np.nanmean(ours) - np.nanmean(theirs)) < OF_MEANS


@pytest.mark.parametrize("name, label", CASES)
def test_frames_are_those_of_praat(name, label):
    parselmouth = peer("parselmouth")
    sound, rate = SOUNDS[name]
    theirs = parselmouth.Sound(sound, sampling_frequency=rate).to_harmonicity_ac(**HNR_SETTINGS[label])
    ours = harmonicity(sound, rate, **HNR_SETTINGS[label])
    assert np.abs(ours.times - theirs.xs()).max() < 1e-9
    frames = np.where(theirs.values[0] == -200, np.nan, theirs.values[0])
    assert_close(ours.values, frames)
    assert abs(ours.mean - np.nanmean(frames)) < OF_MEANS


def test_frames_are_those_that_praat_gave_once():
    with np.load(GOLDEN) as golden:
        assert {key for key in golden if key.startswith("hnr/")} == {f"hnr/{name}/{label}" for name, label in CASES}
        for name, label in CASES:
            sound, rate = SOUNDS[name]
            assert_close(harmonicity(sound, rate, **HNR_SETTINGS[label]).values, golden[f"hnr/{name}/{label}"])


@pytest.mark.parametrize("decibels", [0., 10., 20., 30.])
def test_a_tone_in_noise_has_the_ratio_of_their_powers(decibels):
    """Within 1.5 dB: at 0 dB the highest maximum is often one of the noise."""
    rng = np.random.default_rng(0)
    t = np.arange(2 * 16000) / 16000
    noise = rng.standard_normal(len(t))
    tone = np.sin(2 * np.pi * 200 * t) * np.sqrt(2) * 10 ** (decibels / 20)
    assert abs(hnr(tone + noise, 16000) - decibels) < 1.5


def test_loudness_and_offset_do_not_matter_and_channels_do_not_cancel():
    sound, rate = SOUNDS["tone in noise 16000"]
    expected = hnr(sound, rate)
    assert abs(hnr(1e-3 * sound + 5, rate) - expected) < 1e-6
    assert abs(hnr(np.stack([sound, -sound]), rate) - expected) < 1e-9
    assert abs(hnr(sound.astype(np.float32), rate) - expected) < 1e-3


def test_silence_has_no_ratio_and_silent_parts_do_not_count():
    assert np.isnan(hnr(np.zeros(16000), 16000)) and np.isnan(hnr(np.full((2, 16000), 0.3), 16000))
    sound, rate = SOUNDS["tone in noise 16000"]
    with_pause = harmonicity(np.concatenate([sound, np.zeros(rate), sound]), rate)
    pause = (with_pause.times > 1.1) & (with_pause.times < 1.9)
    assert np.isnan(with_pause.values[pause]).all() and not np.isnan(with_pause.values[with_pause.times < 0.9]).any()
    assert abs(with_pause.mean - hnr(sound, rate)) < 0.3


def test_one_frame_is_enough_and_less_is_not():
    sound, rate = SOUNDS["tone in noise 16000"]
    shortest = int(np.ceil(9 / 75 * rate))
    assert len(harmonicity(sound[:shortest], rate).values) == 1
    with pytest.raises(AudioError, match="at least 0.120 s"):
        harmonicity(sound[:shortest - 2], rate)
    with pytest.raises(AudioError, match="at least"):
        harmonicity(np.zeros(0), rate)


@pytest.mark.parametrize("settings", [{"minimum_pitch": 0.}, {"time_step": -1.}, {"periods_per_window": 0.},
                                      {"minimum_pitch": 4000.}])
def test_impossible_settings_are_named(settings):
    with pytest.raises(AudioError, match=next(iter(settings))):
        harmonicity(np.ones(16000), 16000, **settings)


def test_other_shapes_and_numbers_that_are_none_are_refused():
    with pytest.raises(AudioError, match="shape"):
        harmonicity(np.zeros((1, 2, 16000)), 16000)
    with pytest.raises(AudioError, match="not finite"):
        harmonicity(np.where(np.arange(16000) == 5, np.nan, 1.), 16000)
