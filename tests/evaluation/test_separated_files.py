"""Previously separated files have the scores of the model that made them; files that do not fit are named."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from golden.evaluation_cases import RATE, Leaky, write_tracks

from demucs.audio import reading
from demucs.errors import AudioError, DatasetError
from demucs.evaluation.collect import evaluation_record
from demucs.evaluation.evaluate import evaluate_tracks
from demucs.evaluation.separated import SeparatedFolder
from demucs.evaluation.track_files import TrackFiles
from demucs.evaluation.tracks import song_set, track_folders

METRICS = ("nsdr", "si_sdr", "sdr")
NAMES = ["First - One", "Second - Two", "Third - Three"]


@pytest.fixture
def place(tmp_path):
    """A folder with a test set in data/ and a model's estimates of it as float wav in made/."""
    write_tracks(tmp_path / "data")
    evaluate_tracks(Leaky(), track_folders(tmp_path / "data", sources=Leaky.sources), keep=keep_in(tmp_path / "made"))
    return tmp_path


def keep_in(folder):
    def keep(name, mix, references, estimates):
        for source, wav in zip(Leaky.sources, estimates):
            (folder / name).mkdir(parents=True, exist_ok=True)
            reading.write(folder / name / f"{source}.wav", wav, RATE, clip="none", as_float=True)
    return keep


def models_scores(place):
    return evaluate_tracks(Leaky(), track_folders(place / "data", sources=Leaky.sources), metrics=METRICS)


def score(place, folder="made", **settings):
    separator = SeparatedFolder(place / folder)
    songs = song_set(place / "data", sources=separator.sources)
    return evaluate_tracks(separator, songs.tracks, metrics=METRICS, **settings)


@pytest.mark.parametrize("below", ["", "test"])
def test_same_scores_as_the_model(place, below):
    if below:
        (place / "made").rename(place / "test")
        (place / "made").mkdir()
        (place / "test").rename(place / "made" / "test")
    separator = SeparatedFolder(place / "made")
    assert (separator.sources, separator.samplerate, separator.audio_channels) == (["drums", "vocals"], RATE, 2)
    scores = score(place)
    assert [track.name for track in scores] == NAMES
    for ours, models in zip(scores, models_scores(place)):
        assert ours.duration == models.duration and ours.frames == models.frames and ours.scores == models.scores
    assert evaluation_record(separator, scores, name="made", dataset="x", settings={}).model == "separated files"


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_other_formats(place, suffix):
    """24 bits lose next to nothing; mp3 loses some noise, and that its files begin later is undone."""
    wavs = {path: reading.read(path)[0] for path in (place / "made").rglob("*.wav")}
    for path, wav in wavs.items():
        reading.write(path.with_suffix(f".{suffix}"), wav, RATE, clip="none", bits=24 if suffix == "flac" else 16)
        path.unlink()
    separator = SeparatedFolder(place / "made")
    assert separator.formats == suffix
    track = song_set(place / "data", sources=separator.sources).tracks[0]    # others are louder than integers can be
    estimates = separator.separate(track)[1]
    for source, estimate in zip(separator.sources, estimates):
        wav = wavs[place / "made" / track.name / f"{source}.wav"]
        error = (estimate - wav).square().sum() / wav.square().sum()
        assert error < (1e-6 if suffix == "flac" else 0.2), source           # one sample later, 1 or more for drums


def test_two_stems(place):
    """vocals and no_vocals, as `demucs --two-stems vocals` writes them."""
    for folder in (place / "made").iterdir():
        (folder / "drums.wav").rename(folder / "no_vocals.wav")
    ours = score(place)[0]
    tracks = song_set(place / "data", sources=["no_vocals", "vocals"]).tracks
    references = tracks[0].read().references
    estimate = reading.read(place / "made" / NAMES[0] / "no_vocals.wav")[0]
    error = (references[0].double() - estimate).square().sum()
    assert ours.scores["no_vocals"]["nsdr"] == pytest.approx(
        float(10 * torch.log10(references[0].double().square().sum() / error)), abs=1e-6)
    assert set(ours.scores) == {"no_vocals", "vocals"}


@pytest.mark.parametrize("change,message", [
    ("length", "has 2 channels, 35999 samples at 8000 Hz; the references have 2, 36000 at 8000"),
    ("rate", "samples at 16000 Hz"), ("channels", "has 1 channels"), ("empty", "empty"), ("nan", "not finite")])
def test_files_that_do_not_fit(place, change, message):
    path = place / "made" / NAMES[0] / "vocals.wav"
    wav, _ = soundfile.read(path)
    if change == "empty":
        path.write_bytes(b"")
    else:
        wav = {"length": wav[:-1], "channels": wav[:, 0], "nan": np.where(wav == wav[5], np.nan, wav)}.get(change, wav)
        soundfile.write(path, wav, 2 * RATE if change == "rate" else RATE, subtype="FLOAT")
    with pytest.raises((DatasetError, AudioError), match=rf"First - One/vocals\.wav: .*{message}"):
        score(place)


def test_what_is_missing_is_named_before_anything_is_scored(place):
    with pytest.raises(DatasetError, match=r"nowhere: no such folder"):
        SeparatedFolder(place / "nowhere")
    (place / "empty" / "A").mkdir(parents=True)
    with pytest.raises(DatasetError, match="contains no separated track"):
        SeparatedFolder(place / "empty")
    (place / "made" / NAMES[1] / "drums.wav").unlink()
    shutil.rmtree(place / "made" / NAMES[2])
    record = evaluation_record(SeparatedFolder(place / "made"), [], name="x", dataset="x", settings={})
    files = TrackFiles(place / "results", record)
    with pytest.raises(DatasetError, match=r"Second - Two/drums\.wav, .*Third - Three/drums\.wav, .*vocals\.wav; "):
        score(place, files=files)
    assert not (place / "results").exists()
    assert len(score(place, files=files, rank=0, world_size=3)) == 1        # a shard needs its own tracks only


def test_other_estimates_are_scored_anew(place):
    record = evaluation_record(SeparatedFolder(place / "made"), [], name="x", dataset="x", settings={}, expected=NAMES)
    files = TrackFiles(place / "results", record)
    first = score(place, files=files)
    path = place / "made" / NAMES[1] / "drums.wav"
    wav, rate = reading.read(path)
    reading.write(path, 0.5 * wav, rate, clip="none", as_float=True)
    second = score(place, files=files)
    assert [one.scores == other.scores for one, other in zip(first, second)] == [True, False, True]
    assert second[0].seconds == first[0].seconds


def test_fingerprints_are_of_the_songs_whatever_is_scored(place):
    """So that a comparison of two folders, or of a folder and a model, knows that the references are the same."""
    shutil.copytree(place / "made", place / "halved")
    for path in (place / "halved").rglob("*.wav"):
        wav, rate = reading.read(path)
        reading.write(path, 0.5 * wav, rate, clip="none", as_float=True)
    (place / "voice" / NAMES[0]).mkdir(parents=True)
    shutil.copy(place / "made" / NAMES[0] / "vocals.wav", place / "voice" / NAMES[0])
    separators = {name: SeparatedFolder(place / name) for name in ("made", "halved", "voice")}
    found = {}
    for name, separator in {**separators, "model": Leaky()}.items():
        record = evaluation_record(separator, [], name=name, dataset="x", settings={}, expected=NAMES)
        tracks = song_set(place / "data", sources=separator.sources).tracks[:1]
        found[name], = evaluate_tracks(separator, tracks, files=TrackFiles(place / "results" / name, record))
    assert len({track.fingerprint for track in found.values()}) == 1 and found["made"].fingerprint
    assert found["model"].estimates == "" and len({track.estimates for track in found.values()}) == 4


def test_the_order_of_sources_does_not_change_a_songs_fingerprint(place):
    files = [track_folders(place / "data", sources=sources)[0].files
             for sources in (["drums", "vocals"], ["vocals", "bass"])]
    assert files[0] == files[1]
    assert [path.stem for path in files[0]] == ["mixture", "drums", "bass", "other", "vocals"]     # as in older records
