"""`tools.real_song`: the excerpt of a real song as a test set of its own."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import require_program

from demucs import schema
from demucs.evaluation.request import Request, score_model
from demucs.metrics.aggregates import NSDR_MEAN, aggregate
from demucs.models import zoo
from demucs.schema import SOURCES, Evaluation, SchemaError
from tools import real_song

NAME = "The Easton Ellises - Falcon 69"
LABEL = "one excerpt of a real song of six seconds, not MUSDB18"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    require_program("ffmpeg")
    folder = tmp_path_factory.mktemp("demo") / "real"
    assert real_song.main([str(folder)]) == 0
    return folder


def test_the_song_is_what_stempeg_decodes(folder, capsys):
    import stempeg

    expected, rate = stempeg.read_stems(stempeg.example_stem_path(), dtype=np.float32)
    for name, samples in zip(("mixture", *SOURCES), expected):
        found, own_rate = soundfile.read(folder / NAME / f"{name}.wav", dtype="float32")
        assert own_rate == rate == 44100 and np.array_equal(found, samples)
    assert 5.9 < len(found) / rate < 6.2
    said = (folder / NAME / "origin.txt").read_text()
    assert NAME in said and "CC BY-NC-SA 3.0" in said and "not a score on MUSDB18" in said


def test_it_is_written_once(folder):
    files = sorted((folder / NAME).iterdir())
    before = [path.stat().st_mtime_ns for path in files]
    assert real_song.main([str(folder)]) == 0
    assert [path.stat().st_mtime_ns for path in files] == before and len(files) == 6


def test_what_is_missing_is_one_line(tmp_path, monkeypatch, capsys):
    import stempeg

    monkeypatch.setattr(stempeg, "example_stem_path", lambda: str(tmp_path / "gone.stem.mp4"))
    assert real_song.main([str(tmp_path / "real")]) != 0
    monkeypatch.setitem(sys.modules, "stempeg", None)
    assert real_song.main([str(tmp_path / "real")]) != 0
    first, second = capsys.readouterr().err.splitlines()
    assert "gone.stem.mp4: no such file: stempeg" in first and "install stempeg 0.2.6" in first
    assert "the Python package stempeg is not installed: pip install" in second
    assert not (tmp_path / "real").exists()


def test_its_scores_are_beside_those_of_other_songs(folder, tmp_path, monkeypatch, capsys):
    """In a record of their own: no mean of the first test set changes."""
    monkeypatch.chdir(tmp_path)
    model = zoo.build("hdemucs", sources=list(SOURCES), audio_channels=2, samplerate=44100, segment=6., channels=4,
                      depth=2, nfft=64)
    noise = np.random.default_rng(0).normal(size=(4, 44100, 2)) * 0.1
    for stem, wav in zip(SOURCES, noise):
        (tmp_path / "songs" / "noise").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "songs" / "noise" / f"{stem}.wav", wav, 44100)
    settings = {"shifts": 0}
    score_model(Request("cafe0001", musdb=Path("songs"), no_sdr=True), model, settings=settings)
    records = tmp_path / "demucs_results" / "runs" / "cafe0001"
    first = (records / "evaluation.json").read_bytes()
    score_model(Request("cafe0001", musdb=folder, dataset_name=LABEL, no_sdr=True), model, settings=settings)
    assert (records / "evaluation.json").read_bytes() == first
    own = schema.load(Evaluation, records / f"evaluation_on_{LABEL.replace(', ', '-').replace(' ', '-')}.json")
    assert own.dataset == LABEL and [track.name for track in own.tracks] == [NAME]
    assert aggregate(own, NSDR_MEAN).tracks == 1
    assert f"{LABEL}, 1 track\n" in capsys.readouterr().out
    examples = tmp_path / "demucs_results" / "examples"
    place, = examples.glob("cafe0001_on_*/*")
    assert place.name == NAME and (place / "origin.txt").read_text() == (folder / NAME / "origin.txt").read_text()
    assert not (examples / "cafe0001" / "noise" / "origin.txt").exists()
    with pytest.raises(SchemaError):
        schema.load(Evaluation, records / "evaluation_on_songs.json")
