"""Harmonic and percussive parts equal librosa's; tones are harmonic and clicks percussive."""

from pathlib import Path

import numpy as np
import pytest
from golden.quality_cases import HPSS_SETTINGS, peer, sounds

from demucs.errors import AudioError
from demucs.metrics.quality.percussive import hpr, hpss, masks
from demucs.metrics.quality.spectra import spectra

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "quality.npz"
MIXTURE = sounds()["mixture"][0]
RATE = 44100


def spectrogram(wav):
    return spectra(wav, n_fft=2048, hop=512)


@pytest.mark.parametrize("label", HPSS_SETTINGS)
def test_parts_are_those_of_librosa(label):
    """Within 1e-9 of the largest value."""
    librosa = peer("librosa")
    z = librosa.stft(MIXTURE)
    assert np.abs(z - spectrogram(MIXTURE)).max() < 1e-12 * np.abs(z).max()
    for ours, theirs in zip(hpss(z, **HPSS_SETTINGS[label]), librosa.decompose.hpss(z, **HPSS_SETTINGS[label])):
        assert np.abs(ours - theirs).max() < 1e-9 * np.abs(z).max()


def test_parts_are_those_that_librosa_gave_once():
    """The song is synthesised anew, and some of its 16-bit samples are one step away on another processor: that is 2e-4 in a
    spectrogram. The test above compares within 1e-9 on the same samples."""
    z = spectrogram(MIXTURE)
    with np.load(GOLDEN) as golden:
        for label, settings in HPSS_SETTINGS.items():
            for part, values in zip(("harmonic", "percussive"), hpss(z, **settings)):
                kept = np.abs(values).reshape(-1)[::1009]
                assert np.abs(kept - golden[f"hpss/{label}/{part}"]).max() < 3e-6 * np.abs(z).max()


def test_the_ratio_is_near_that_of_what_librosa_makes_audible():
    """Within 1 dB: parts that are made audible overlap, so that their energies are not those of the spectrograms."""
    librosa = peer("librosa")
    parts = librosa.effects.hpss(MIXTURE)
    audible = 10 * np.log10(np.square(parts[0]).sum() / np.square(parts[1]).sum())
    assert abs(hpr(MIXTURE) - audible) < 1


def test_tones_are_harmonic_and_clicks_percussive():
    t = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * t)[None]
    clicks = np.zeros((1, 2 * RATE))
    clicks[:, ::RATE // 4] = 1
    noise = np.random.default_rng(0).standard_normal((1, 2 * RATE))
    assert hpr(tone) > 30 and hpr(clicks) < -20 and abs(hpr(noise)) < 1
    assert hpr(clicks) < hpr(0.05 * tone + clicks) < hpr(tone)


def test_the_ratio_knows_no_loudness():
    assert abs(hpr(MIXTURE) - hpr(1e-3 * MIXTURE)) < 1e-6
    assert abs(hpr(MIXTURE) - hpr(MIXTURE.astype(np.float32))) < 1e-2


def test_silence_has_no_ratio_and_any_length_will_do():
    assert np.isnan(hpr(np.zeros((2, RATE))))
    for length in (1, 100, 512, 3000):
        assert np.isfinite(hpr(MIXTURE[:, 5000:5000 + length]))


def test_masks_without_margin_share_everything():
    harmonic, percussive = masks(np.abs(spectrogram(MIXTURE)))
    assert np.allclose(harmonic + percussive, 1, atol=1e-12) and harmonic.min() >= 0
    harmonic, percussive = masks(np.zeros((33, 5)))
    assert (harmonic == 0.5).all() and (percussive == 0.5).all()
    harmonic, percussive = masks(np.zeros((33, 5)), margin=2.)
    assert (harmonic == 0).all() and (percussive == 0).all()


@pytest.mark.parametrize("settings", [{"kernel_size": 30}, {"kernel_size": (31, 0)}, {"margin": 0.5}, {"power": 0.}])
def test_impossible_settings_of_masks_are_named(settings):
    with pytest.raises(AudioError, match=next(iter(settings))):
        masks(np.ones((33, 40)), **settings)


def test_what_is_no_sound_is_refused():
    for wav in (np.zeros(100), np.zeros((2, 0)), np.full((2, 100), np.inf)):
        with pytest.raises(AudioError, match="harmonic-to-percussive"):
            hpr(wav)
