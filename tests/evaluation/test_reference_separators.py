"""Reference separators: known scores, and scores on synthetic songs."""

import numpy as np
import pytest
import soundfile
import torch

from demucs.data.synthetic.dataset import generate
from demucs.errors import AudioError, DatasetError
from demucs.evaluation.reference_separators import (AverageSpectrumFilter, MixtureAsEstimate, Silence,
                                                    reference_separators)
from demucs.evaluation.tracks import track_folders
from demucs.metrics.nsdr import nsdr
from demucs.schema import SOURCES


def write_tones(folder, frequencies, amplitude=0.25, seconds=2., samplerate=44100):
    """A track whose sources are steady tones, the same in both channels."""
    folder.mkdir(parents=True)
    time = np.arange(round(seconds * samplerate)) / samplerate
    for source, frequency in frequencies.items():
        tone = amplitude * np.sin(2 * np.pi * frequency * time)
        soundfile.write(str(folder / f"{source}.wav"), np.stack([tone, tone], 1), samplerate, subtype="FLOAT")


def read_song(folder):
    return torch.stack([torch.from_numpy(soundfile.read(str(folder / f"{source}.wav"), dtype="float32")[0].T)
                        for source in SOURCES])


def scores(separator, song):
    """nSDR [S] of a song [S, A, L]."""
    return nsdr(song, separator(song.sum(0)[None])[0])


def test_silence_scores_nought_and_the_mixture_scores_minus_the_others_power():
    song = torch.randn(4, 2, 44100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(scores(Silence(SOURCES), song), torch.zeros(4))
    # the error is the other three sources, of equal power: -10 log10(3), up to chance correlations
    torch.testing.assert_close(scores(MixtureAsEstimate(SOURCES), song), torch.full((4,), -4.771), atol=0.1, rtol=0)


@pytest.mark.parametrize("kind", [Silence, MixtureAsEstimate])
def test_fixed_separators_have_the_interface_of_a_model(kind):
    separator = kind(["a", "b"], audio_channels=1, samplerate=8000, segment=3.)
    assert (separator.sources, separator.audio_channels, separator.samplerate, separator.segment) == (
        ["a", "b"], 1, 8000, 3.)
    assert separator(torch.ones(3, 1, 7)).shape == (3, 2, 1, 7)


def test_filter_separates_tones_that_lie_apart_and_halves_one_that_two_sources_share(tmp_path):
    write_tones(tmp_path / "apart", {"low": 500, "high": 6000})
    apart = AverageSpectrumFilter.fit([tmp_path / "apart"], ["low", "high"])
    song = torch.stack([torch.from_numpy(soundfile.read(str(tmp_path / "apart" / f"{name}.wav"), dtype="float32")[0].T)
                        for name in ("low", "high")])
    assert scores(apart, song).min() > 40      # dB; what is lost are the ends of the tones

    # One sounds in the first song, the other in the second: the same bin, half of its power each
    write_tones(tmp_path / "first", {"low": 500}, seconds=2)
    write_tones(tmp_path / "second", {"high": 500}, seconds=2)
    silent = np.zeros((88200, 2))
    soundfile.write(str(tmp_path / "first" / "high.wav"), silent, 44100)
    soundfile.write(str(tmp_path / "second" / "low.wav"), silent, 44100)
    shared = AverageSpectrumFilter.fit([tmp_path / "first", tmp_path / "second"], ["low", "high"])
    peak = round(500 / 44100 * 4096)
    torch.testing.assert_close(shared.gains[:, peak], torch.tensor([0.5, 0.5]), atol=1e-3, rtol=0)


def test_filter_takes_any_length_and_is_deterministic(tmp_path):
    write_tones(tmp_path / "song", {source: 200 * 3 ** n for n, source in enumerate(SOURCES)})
    separator = AverageSpectrumFilter.fit([tmp_path / "song"], SOURCES, segment=5.)
    assert separator.segment == 5. and 0 <= separator.gains.min() and separator.gains.max() <= 1
    for length in (1, 2048, 2049, 30001):
        mix = torch.randn(2, 2, length, generator=torch.Generator().manual_seed(length))
        estimate = separator(mix)
        assert estimate.shape == (2, 4, 2, length) and estimate.isfinite().all()
        assert torch.equal(estimate, separator(mix))


def test_filter_of_silent_songs_is_silence(tmp_path):
    write_tones(tmp_path / "song", {source: 100 for source in SOURCES}, amplitude=0.)
    separator = AverageSpectrumFilter.fit([tmp_path / "song"], SOURCES)
    assert torch.equal(separator(torch.ones(1, 2, 5000)), torch.zeros(1, 4, 2, 5000))


def test_songs_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no song"):
        AverageSpectrumFilter.fit([], SOURCES)
    write_tones(tmp_path / "slow", {source: 100 for source in SOURCES}, samplerate=8000)
    with pytest.raises(DatasetError, match="drums.wav.*8000 Hz"):
        AverageSpectrumFilter.fit([tmp_path / "slow"], SOURCES)
    write_tones(tmp_path / "uneven", {source: 100 for source in SOURCES})
    soundfile.write(str(tmp_path / "uneven" / "bass.wav"), np.zeros((44100, 2)), 44100)
    with pytest.raises(DatasetError, match="bass.wav"):
        AverageSpectrumFilter.fit([tmp_path / "uneven"], SOURCES)
    (tmp_path / "uneven" / "bass.wav").unlink()
    with pytest.raises(AudioError, match="bass.wav"):
        AverageSpectrumFilter.fit([tmp_path / "uneven"], SOURCES)


def test_synthetic_songs_cannot_be_separated_by_a_fixed_filter(tmp_path):
    """What the demo's table rests on: such a filter stays below 3 dB, yet does better than silence."""
    root = generate(tmp_path, train=12, test=6, seconds=6, seed=1, processes=1)
    separator = AverageSpectrumFilter.fit(sorted((root / "train").iterdir()), SOURCES)
    tests = [read_song(track) for track in sorted((root / "test").iterdir())]
    assert 0.5 < torch.stack([scores(separator, song) for song in tests]).mean() < 3
    mixture = torch.stack([scores(MixtureAsEstimate(SOURCES), song) for song in tests])
    assert -6.5 < mixture.mean() < -4


def test_the_filter_of_sums_and_single_sources_knows_the_mixture(tmp_path):
    """A filter fitted on one source alone would take it for the mixture, and return its input."""
    for split, name in (("train", "A"), ("train", "B"), ("test", "C")):
        write_tones(tmp_path / split / name, {source: 200 * 3 ** n for n, source in enumerate(SOURCES)})
    form = Silence(SOURCES)
    four = reference_separators(form, SOURCES, tmp_path)["average_filter"]
    targets = {"instrumental": ["drums", "bass", "other"], "vocals": ["vocals"]}
    two = reference_separators(form, list(targets), tmp_path, targets=targets, stems=SOURCES)["average_filter"]
    torch.testing.assert_close(two.gains[1], four.gains[3])
    one = reference_separators(form, ["instrumental"], tmp_path, targets=targets, stems=SOURCES)["average_filter"]
    assert torch.equal(one.gains, two.gains[:1])
    alone = reference_separators(form, ["vocals"], tmp_path)["average_filter"]
    torch.testing.assert_close(alone.gains, four.gains[3:])
    song = read_song(tmp_path / "test" / "C")
    instrumental = song[:3].sum(0)
    assert nsdr(instrumental[None], one(song.sum(0)[None])[0]).item() > 30
    assert nsdr(instrumental[None], MixtureAsEstimate(["x"])(song.sum(0)[None])[0]).item() == pytest.approx(4.77, abs=0.05)
    songs = track_folders(tmp_path, sources=["vocals"], split="train")
    with pytest.raises(DatasetError, match="A: 2 channels at 44100 Hz; wanted 1 channels"):
        AverageSpectrumFilter.fit_songs(songs, ["vocals"], audio_channels=1)
