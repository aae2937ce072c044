"""A folder of separated songs, scored without references."""

import numpy as np
import pytest
import soundfile
import torch

from demucs import schema
from demucs.errors import AudioError, ConfigError, DatasetError
from demucs.evaluation import quality
from demucs.evaluation.quality import mixture_file, read_song, score_folder
from demucs.evaluation.reference_separators import AverageSpectrumFilter, MixtureAsEstimate
from demucs.evaluation.separated import separated_folders
from demucs.metrics.quality.measures import MEASURES, measure_song
from demucs.schema import QualityScores

RATE = 16000
SOURCES = ["drums", "vocals"]
WITHOUT_MODEL = {key for key, measure in MEASURES.items() if measure.needs != "model"}


def write(folder, name, wav, rate=RATE):
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.wav", wav.T, rate, subtype="FLOAT")


@pytest.fixture
def separated(tmp_path):
    """Two songs; noise as drums, a tone as vocals, with leaks of different size."""
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE) * np.ones((2, 1))
    for name, leak in (("good & clean", 0.01), ("poor", 0.5)):
        noise = 0.3 * rng.standard_normal((2, 2 * RATE))
        write(tmp_path / "sep" / name, "drums", noise + leak * tone)
        write(tmp_path / "sep" / name, "vocals", tone + leak * noise)
        write(tmp_path / "songs" / "test" / name, "mixture", (noise + tone) * (1 + leak))
    return tmp_path / "sep"


def test_values_are_those_of_the_files(separated, tmp_path):
    found = score_folder(separated, mixtures=tmp_path / "songs")
    assert [track.name for track in found.tracks] == ["good & clean", "poor"] and found.sources == SOURCES
    assert set(found.measures) == WITHOUT_MODEL and found.tracks[0].duration == 2.
    for track in found.tracks:
        song = read_song(separated / track.name, SOURCES, mixture_file(separated / track.name, tmp_path / "songs"))
        expected = measure_song(song.estimates.numpy(), RATE, mixture=song.mixture.numpy())
        for key, values in expected.items():
            assert [track.values[source][key] for source in SOURCES] == values
        assert track.values["drums"]["reconstruction"] < -60
    good, poor = ([track.values[source]["leakage"] for source in SOURCES] for track in found.tracks)
    assert all(one < other - 5 for one, other in zip(good, poor))


def test_the_record_survives_being_written(separated, tmp_path):
    found = score_folder(separated)
    schema.save(found, tmp_path / "quality.json")
    assert schema.load(QualityScores, tmp_path / "quality.json") == found
    assert found.name == "sep" and set(found.measures) == {"hnr", "hpr", "leakage"}


def test_mixtures_are_found_where_they_may_lie(separated, tmp_path):
    song = separated / "poor"
    assert mixture_file(song) is None and mixture_file(song, tmp_path) is None
    assert mixture_file(song, tmp_path / "songs") == tmp_path / "songs" / "test" / "poor" / "mixture.wav"
    wav = np.zeros((2, 2 * RATE))
    for folder, name, mixtures in ((tmp_path / "flat", "poor", tmp_path / "flat"),
                                   (tmp_path / "folders" / "poor", "mixture", tmp_path / "folders"),
                                   (song, "mixture", None)):
        write(folder, name, wav)
        assert mixture_file(song, mixtures) == folder / f"{name}.wav"
    found = score_folder(separated)
    assert found.sources == SOURCES                   # the mixture is no source
    assert "level" not in found.tracks[0].values["drums"] and "level" in found.measures


def test_a_model_is_asked_again_at_its_own_rate(separated, tmp_path):
    model = AverageSpectrumFilter(SOURCES, torch.stack([torch.full((65,), 0.3), torch.full((65,), 0.7)]),
                                  audio_channels=1, samplerate=8000, segment=1.)
    found = score_folder(separated, mixtures=tmp_path / "songs", model=model, seed=3)
    assert set(found.measures) == set(MEASURES) and found.settings["seed"] == 3 and found.settings["model_hash"]
    for track in found.tracks:
        for values in track.values.values():
            assert values["shift_agreement"] > 60       # a filter does the same everywhere
            assert values["remix_agreement"] < 20       # and gives each source a part of both
    again = score_folder(separated, mixtures=tmp_path / "songs", model=model, seed=3)
    assert again.tracks == found.tracks


def test_a_model_of_other_sources_cannot_repeat_them(separated):
    with pytest.raises(ConfigError, match="cannot repeat drums, vocals"):
        score_folder(separated, model=MixtureAsEstimate(["drums", "bass"], samplerate=RATE), sources=SOURCES)


def test_folders_that_cannot_be_scored_say_why(separated, tmp_path):
    for folder in (tmp_path / "nothing", separated / "poor"):
        with pytest.raises(DatasetError, match="no separated song"):
            separated_folders(folder)
    with pytest.raises(DatasetError, match="lacks bass"):
        score_folder(separated, sources=["bass"])
    write(separated / "poor", "drums", np.zeros((2, RATE)))
    with pytest.raises(DatasetError, match="poor: files differ"):
        score_folder(separated)
    write(separated / "poor", "drums", np.full((2, 2 * RATE), np.nan))
    with pytest.raises(AudioError, match="drums.wav"):
        score_folder(separated)
    for source in SOURCES:
        write(separated / "poor", source, np.zeros((2, 100)))
    with pytest.raises(AudioError, match="poor: "):
        score_folder(separated)


def test_memory_that_runs_out_names_the_song(separated, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(quality, "measure_song", exhausted)
    with pytest.raises(AudioError, match=f"{separated / 'good & clean'}: out of memory; move this song elsewhere"):
        score_folder(separated)
