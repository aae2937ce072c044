"""Reference-free measures of estimates with known faults."""

import numpy as np
import pytest

from demucs.data.synthetic.dataset import render_song
from demucs.errors import AudioError, ConfigError
from demucs.metrics.quality.agreement import agreement
from demucs.metrics.quality.decisiveness import decisiveness
from demucs.metrics.quality.leakage import leakage
from demucs.metrics.quality.measures import MEASURES, measure_song
from demucs.metrics.quality.musical_noise import kurtosis_ratio
from demucs.metrics.quality.ranking import ranking
from demucs.metrics.quality.reconstruction import level, reconstruction
from demucs.schema import QualityScores, QualityTrack

RATE = 44100
SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture(scope="module")
def song():
    """True sources [S, A, L] and their mixture, four seconds."""
    stems = render_song(3, "test", 1, 4.)
    sources = np.stack([stems[name] / 32768 for name in SOURCES])
    return sources, sources.sum(axis=0)


def leaking(sources, decibels):
    return sources + 10 ** (decibels / 20) * (sources.sum(axis=0) - sources)


def test_reconstruction_is_what_the_sum_lacks(song):
    sources, mixture = song
    missing = 0.1 * mixture
    found = reconstruction(sources * 0.9, mixture)
    assert abs(found.relative + 20) < 1e-9
    assert np.isclose(found.l1, np.abs(missing).mean(), rtol=1e-9)
    assert np.isclose(found.mse, np.square(missing).mean(), rtol=1e-9)
    assert reconstruction(0 * sources, mixture).relative == 0
    assert reconstruction(sources, mixture).relative == -80
    assert abs(reconstruction(sources.astype(np.float32) * 0.9, mixture.astype(np.float32)).relative + 20) < 1e-4


def test_a_sum_that_is_right_says_nothing_of_its_parts(song):
    """The blind spot: a quarter of the mixture for each source adds up perfectly."""
    sources, mixture = song
    assert reconstruction(np.repeat(mixture[None] / 4, 4, axis=0), mixture).relative == -80


def test_level_is_that_in_the_mixture(song):
    sources, mixture = song
    values = level(np.stack([mixture, 0.1 * mixture, 0 * mixture]), mixture)
    assert np.allclose(values, [0, -20, -80], atol=1e-9)


def test_leakage_grows_with_what_leaks(song):
    sources, _ = song
    values = np.array([leakage(leaking(sources, decibels), RATE) for decibels in (-40, -30, -20, -10, -5)])
    assert (np.diff(values, axis=0) > 0).all() and (values > -40).all() and values.max() <= 0
    assert (leakage(np.repeat(sources[:1], 3, axis=0), RATE) > -0.01).all()


def test_independent_noises_do_not_leak_and_a_known_leak_is_measured():
    """Noise on noise: an estimate that is half somebody else's waveform, at equal levels."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 2, 4 * RATE))
    assert (leakage(noise, RATE) < -20).all()
    mixed = np.stack([noise[0], (noise[0] + noise[1]) / np.sqrt(2), noise[2]])
    values = leakage(mixed, RATE)
    assert np.allclose(values[:2], 10 * np.log10(0.5), atol=0.2) and values[2] < -20
    later = np.stack([noise[0], np.roll(mixed[1], 220, axis=-1), noise[2]])       # 5 ms late
    assert np.allclose(leakage(later, RATE)[:2], 10 * np.log10(0.5), atol=1)


def test_leakage_knows_no_loudness_and_silence_does_no_harm(song):
    sources, _ = song
    estimates = leaking(sources, -20)
    expected = leakage(estimates, RATE)
    assert np.allclose(leakage(1e-4 * estimates, RATE), expected, atol=1e-6)
    assert np.allclose(leakage(estimates.astype(np.float32), RATE), expected, atol=0.05)
    silent = leakage(np.concatenate([estimates, 0 * estimates[:1]]), RATE)
    assert np.isnan(silent[-1]) and np.allclose(silent[:-1], expected, atol=0.3)
    assert leakage(np.stack([sources[0], 0 * sources[0]]), RATE)[0] == -40


def test_decisiveness_falls_with_what_leaks_and_is_known_for_equal_shares(song):
    sources, mixture = song
    values = np.array([decisiveness(leaking(sources, decibels), mixture) for decibels in (-60, -30, -20, -10, -5)])
    assert (np.diff(values, axis=0) < 0).all() and (values > 0).all()
    for count in (2, 3, 4):
        alike = decisiveness(np.repeat(mixture[None], count, axis=0), mixture)
        assert np.allclose(alike, 10 * np.log10(count / (count - 1)), atol=1e-6)


def test_decisiveness_of_sounds_that_share_nothing_is_at_its_limit(song):
    sources, _ = song
    low, high = (np.sin(2 * np.pi * pitch * np.arange(2 * RATE) / RATE)[None] for pitch in (200, 5000))
    assert (decisiveness(np.stack([low, high]), low + high) > 30).all()
    values = decisiveness(np.stack([sources[0], 0 * sources[0]]), sources[0])
    assert values[0] == 60 and np.isnan(values[1])


def test_decisiveness_believes_a_separator_that_is_sure_and_wrong(song):
    """The blind spot: sources under each other's names."""
    sources, mixture = song
    assert np.allclose(decisiveness(sources[::-1], mixture), decisiveness(sources, mixture)[::-1])


def test_blips_raise_the_kurtosis_ratio_and_the_mixture_has_none():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 4 * RATE))
    gate = np.repeat(rng.random(4 * RATE // 2048 + 1) < 0.1, 2048)[:4 * RATE]
    values = kurtosis_ratio(np.stack([noise, 0.1 * noise, noise * gate]), noise)
    assert np.allclose(values[:2], 0, atol=1e-9) and values[2] > 6
    assert np.isnan(kurtosis_ratio(np.zeros((1, 1, RATE)), noise[:, :RATE])).all()


def test_agreement_is_the_ratio_of_what_stays_to_what_scatters():
    """Within 0.1 dB, of passes with independent errors 20 dB below the signal."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((3, 2, RATE))
    for count in (2, 3, 5):
        passes = signal + 0.1 * rng.standard_normal((count, *signal.shape))
        assert np.allclose(agreement(passes), 20, atol=0.1)
    assert (agreement(np.stack([signal, signal])) == 100).all()
    assert (agreement(np.stack([signal, -signal])) == -100).all()
    assert np.isnan(agreement(np.zeros((2, 1, 1, 100)))).all()


def test_a_song_has_every_measure_that_there_is_something_for(song):
    sources, mixture = song
    estimates = leaking(sources, -15)
    passes = np.stack([estimates, estimates + 0.01 * sources])
    everything = measure_song(estimates, RATE, mixture=mixture, passes={"shift_agreement": passes,
                                                                       "remix_agreement": passes})
    assert list(everything) == list(MEASURES)
    assert all(len(values) == 4 and all(np.isfinite(value) for value in values) for values in everything.values())
    alone = measure_song(estimates, RATE)
    assert {key for key in alone} == {key for key, measure in MEASURES.items() if measure.needs == "estimates"}
    assert all(alone[key] == everything[key] for key in alone)
    assert set(measure_song(estimates[:1], RATE)) == {"hnr", "hpr"}


def test_silence_has_no_measures_and_one_silent_estimate_spoils_no_other(song):
    sources, mixture = song
    nothing = measure_song(0 * sources, RATE, mixture=0 * mixture)
    assert all(value is None for values in nothing.values() for value in values)
    partly = measure_song(np.concatenate([sources[:3], 0 * sources[:1]]), RATE, mixture=mixture)
    for key, values in partly.items():
        assert all(value is not None for value in values[:3]), key
        assert values[3] is None or key in ("reconstruction", "level"), key
    assert partly["level"][3] == -80


@pytest.mark.parametrize("change, message", [
    (lambda e, m: (e[:, 0], m), "shape"), (lambda e, m: (e, m[:, 1:]), "does not fit"),
    (lambda e, m: (e, m[0]), "mixture"), (lambda e, m: (e[:, :1], m), "does not fit"),
    (lambda e, m: (np.where(e > 0.1, np.nan, e), m), "not finite"),
    (lambda e, m: (e, np.where(m > 0.1, np.inf, m)), "mixture: some samples are not finite"),
    (lambda e, m: (e[..., :0], m[:, :0]), "at least"), (lambda e, m: (e[..., :3000], m[:, :3000]), "at least")])
def test_what_is_no_song_is_refused(song, change, message):
    estimates, mixture = change(*song)
    with pytest.raises(AudioError, match=message):
        measure_song(estimates, RATE, mixture=mixture)


def test_single_estimates_and_single_passes_are_refused(song):
    sources, mixture = song
    for call in (lambda: leakage(sources[:1], RATE), lambda: decisiveness(sources[:1], mixture),
                 lambda: agreement(sources[None])):
        with pytest.raises(AudioError, match="at least two"):
            call()
    with pytest.raises(AudioError, match="shift_agreement, remix_agreement"):
        measure_song(sources, RATE, passes={"leakage": np.stack([sources, sources])})


def scores(**columns):
    """Two sources; each column has for each song the values of both."""
    songs = len(next(iter(columns.values())))
    tracks = [QualityTrack(f"song {number}", 4.,
                           {source: {key: column[number][index] for key, column in columns.items()}
                            for index, source in enumerate(("a", "b"))})
              for number in range(songs)]
    return QualityScores(name="folder", sources=["a", "b"], tracks=tracks, settings={}, commit="", versions={},
                         measures={key: MEASURES[key].label for key in columns}, created="2026-01-01T00:00:00+00:00")


def test_songs_are_ranked_in_the_direction_that_is_better():
    up, down = [(1., 5.), (2., 7.), (0., 6.)], [(-1., -5.), (-2., -7.), (0., -6.)]
    for key, column in (("decisiveness", up), ("leakage", down)):
        found = ranking(scores(**{key: column}), [key])
        assert [place.name for place in found] == ["song 1", "song 0", "song 2"]
        assert [place.value for place in found] == [1., 0.25, 0.25]
    both = ranking(scores(decisiveness=up, leakage=up), ["decisiveness", "leakage"])
    assert [place.value for place in both] == [0.5, 0.5, 0.5]


def test_undefined_values_do_not_count_and_songs_without_any_come_last():
    found = ranking(scores(decisiveness=[(None, None), (None, 2.), (1., 3.)]), ["decisiveness"])
    assert [place.name for place in found] == ["song 2", "song 1", "song 0"]
    assert [place.value for place in found] == [0.75, 0., None]


def test_ranking_by_what_was_not_measured_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'leakage'|Did you mean 'leakage'"):
        ranking(scores(leakage=[(1., 2.)]), ["leekage"])
    with pytest.raises(ConfigError, match="needs the model"):
        ranking(scores(leakage=[(1., 2.)]), ["shift_agreement"])
    with pytest.raises(ConfigError, match="at least one"):
        ranking(scores(leakage=[(1., 2.)]), [])
