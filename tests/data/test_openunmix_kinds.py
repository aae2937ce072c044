"""The layouts of Open-Unmix: which file is which source, and what its own datasets do wrong with files."""

import logging

import pytest
import torch
from data.openunmix_songs import FILES, RATE, constant, listed, make, read, sets
from data.songs import noise, write

from demucs.data import kinds
from demucs.data.faults import FaultyTracks
from demucs.data.kinds import KindSettings
from demucs.data.kinds.file_names import FileNames, check, chosen_sources, sources
from demucs.data.sampler import ExampleKey
from demucs.errors import AudioError, ConfigError, DatasetError
from demucs.evaluation import test_sets
from demucs.evaluation.tracks import kind_tracks, song_set
from demucs.schema import SOURCES


# What the files are.

def test_aligned_mixture_is_the_input_to_the_sample(tmp_path):
    root = make("aligned", tmp_path / "db")
    train, valid = sets("aligned", root, sampling="grid")
    song = root / "train" / "train 0"
    example = train[0]
    assert torch.equal(example[0], read(song / "vocals.wav")[:, :RATE])
    assert torch.equal(example.sum(0), read(song / "mixture.wav")[:, :RATE])
    mixture, vocals = valid[0]
    song = root / "valid" / "valid 0"
    assert torch.equal(mixture, read(song / "mixture.wav")) and torch.equal(vocals, read(song / "vocals.wav"))


def test_aligned_files_by_pattern(tmp_path):
    files = FileNames(input="mix*.wav", output="voc*", target="voice")
    for number, split in enumerate(("train", "valid")):
        write(tmp_path / "db" / split / "a" / f"mix {number}.wav", noise(1))
        write(tmp_path / "db" / split / "a" / f"voc{number}.flac", noise(2))
    assert sources("aligned", files) == ["voice"]
    train, _ = sets("aligned", tmp_path / "db", files=files)
    assert len(train) == 3
    write(tmp_path / "db" / "train" / "a" / "mix 1.wav", noise(1))
    found = listed("aligned", tmp_path / "db", files=files)
    assert not found.tracks and "2 files in" in found.faults[0] and "mix 0.wav, mix 1.wav" in found.faults[0]


def test_fixed_files_of_unequal_length_end_in_silence(tmp_path):
    root = make("trackfolder_fix", tmp_path / "db")
    write(root / "valid" / "valid 0" / "bass.wav", noise(7, 1.))
    train, valid = sets("trackfolder_fix", root)
    assert train[0].shape == (3, 2, RATE)
    example = valid[0]
    assert example.shape == (4, 2, 2 * RATE) and not example[3, :, RATE:].any() and example[3, :, :RATE].any()
    torch.testing.assert_close(example[0], example[1:].sum(0), atol=1e-6, rtol=0)
    assert listed("trackfolder_fix", root).tracks[0].mixed == ("vocals", "drums", "bass")


def test_no_mixture_or_copy_of_the_target_is_among_the_interferers(tmp_path):
    files = FileNames(target="vocals.flac", ext="WAV", input="full song.wav")
    for split in ("train", "valid"):
        song = tmp_path / "db" / split / "a"
        write(song / "vocals.flac", noise(1))
        for name in ("drums.wav", "Horns.WAV", "mixture.wav", "mix.wav", "Mixture.wav", "full song.wav", "vocals.wav",
                     "instrumental.wav", "no_vocals.wav", "._drums.wav", "guitar.flac"):
            (song / name).write_bytes(b"") if name.startswith(".") else write(song / name, noise(len(name)))
    (track,) = listed("trackfolder_var", tmp_path / "db", files=files).tracks
    assert [path.name for path in track.stems["others/"]] == ["Horns.WAV", "drums.wav"]
    (tmp_path / "db" / "train" / "a" / "Horns.WAV").rename(tmp_path / "db" / "train" / "a" / "horns.wav")
    (tmp_path / "db" / "valid" / "a" / "Horns.WAV").unlink()
    train, valid = sets("trackfolder_var", tmp_path / "db", files=files, sampling="grid")
    song = tmp_path / "db" / "train" / "a"
    torch.testing.assert_close(train[0][1], (read(song / "horns.wav") + read(song / "drums.wav"))[:, :RATE], atol=1e-7, rtol=0)
    mixture, vocals = valid[0]
    torch.testing.assert_close(mixture - vocals, read(tmp_path / "db" / "valid" / "a" / "drums.wav"), atol=1e-6, rtol=0)


def test_log_names_mixtures_that_are_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    listed("trackfolder_var", make("trackfolder_var", tmp_path / "db"))
    assert "mixtures are no sources: mixture.wav (in 2 tracks)" in caplog.text


# Missing and damaged files.

def test_missing_files_are_named_all_at_once(tmp_path):
    root = make("trackfolder_fix", tmp_path / "db")
    (root / "train" / "train 0" / "bass.wav").rename(root / "train" / "train 0" / "Bass.wav")
    (root / "train" / "train 1" / "vocals.wav").unlink()
    with pytest.raises(FaultyTracks) as error:
        sets("trackfolder_fix", root)
    assert "train 0/bass.wav is missing" in str(error.value) and "Did you mean 'Bass.wav'?" in str(error.value)
    assert "train 1/vocals.wav is missing" in str(error.value) and "dset.missing=exclude" in str(error.value)


@pytest.mark.parametrize("kind,name", [("aligned", "vocals.wav"), ("trackfolder_fix", "bass.wav"),
                                       ("trackfolder_var", "vocals.wav")])
def test_tracks_with_missing_files_are_left_out_or_silent(tmp_path, caplog, kind, name):
    root = make(kind, tmp_path / "db", count=3)
    (root / "train" / "train 1" / name).unlink()
    train, _ = sets(kind, root, missing="exclude")
    assert train.names == ["train 0", "train 2"]
    assert f"1 of 3 tracks lack files and are left out: train 1 ({name})" in caplog.text
    train, _ = sets(kind, root, missing="silence")
    row = {"bass.wav": 2}.get(name, 0)
    for index in range(3, 6):                 # of the second track
        assert not train[index][row].any() and train[index][1].any()


def test_a_track_of_the_target_alone(tmp_path):
    root = make("trackfolder_var", tmp_path / "db")
    for file in (root / "train" / "train 0").glob("*.wav"):
        file.unlink() if file.name != "vocals.wav" else None
    train, _ = sets("trackfolder_var", root)
    assert train[0][0].any() and not train[0][1].any() and train[0].shape == train[3].shape
    (root / "train" / "train 0" / "vocals.wav").unlink()
    (fault,) = listed("trackfolder_var", root, missing="silence").faults
    assert "train 0/vocals.wav is missing, and so are other files *.wav" in fault
    assert [track.name for track in listed("trackfolder_var", root, missing="exclude").tracks] == ["train 1"]


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_an_error_and_no_neighbour_takes_its_place(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    train, _ = sets(kind, root)
    file = next(path for path in sorted(root.glob("train/**/*vocals*" if kind != "sourcefolder" else "train/vocals/*"))
                if path.is_file())
    bytes_ = file.read_bytes()
    file.write_bytes(bytes_[:len(bytes_) // 2])
    with pytest.raises(FaultyTracks, match=f"{file}.*truncated"):
        sets(kind, root)
    file.write_bytes(b"")
    with pytest.raises(AudioError, match=str(file)):          # damaged after the scan
        for index in range(len(train)):
            train[index]


@pytest.mark.parametrize("kind", ["aligned", "trackfolder_fix", "trackfolder_var"])
def test_no_track_is_left(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    for file in root.glob("train/*/vocals.wav"):
        file.unlink()
    with pytest.raises(DatasetError, match="has no track with all files in it; .* expects TRACK/"):
        sets(kind, root, missing="exclude")
    with pytest.raises(DatasetError, match="nowhere.* does not exist"):
        sets(kind, tmp_path / "nowhere")


def test_folders_of_sources_that_are_missing_or_empty(tmp_path):
    root = make("sourcefolder", tmp_path / "db")
    found = listed("sourcefolder", root, files=FileNames(target="vocal", interferers=["drums", "bass"]))
    assert "train/vocal: no such folder" in found.faults[0] and "Did you mean 'vocals'?" in found.faults[0]
    found = listed("sourcefolder", root, files=FileNames(target="vocals", interferers=["drums"], ext=".ogg"))
    assert len(found.faults) == 2 and "has no file *.ogg" in found.faults[0] and "(there are *.wav)" in found.faults[0]
    for file in root.glob("valid/drums/*"):
        file.unlink()
    with pytest.raises(FaultyTracks, match="valid/drums: has no file"):
        sets("sourcefolder", root)


def test_exclude_is_refused_where_it_has_no_effect(tmp_path):
    with pytest.raises(ConfigError, match="dset.missing=exclude has no effect with dset.kind=wav"):
        kinds.tracks("wav", KindSettings(tmp_path, ("a",), missing="exclude"), "train")


# Sample rates and channels.

@pytest.mark.parametrize("kind", FILES)
def test_tracks_of_another_rate_are_resampled(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    for file in sorted(root.glob("train/**/*.wav")):
        if "train 1" in str(file) or "sound 1" in str(file):
            constant(file, 0.25, 3., rate=2 * RATE, channels=2)
    train, _ = sets(kind, root)
    if kind == "sourcefolder":
        keys = [ExampleKey(0, 0, position, position) for position in range(40)]
        drawn = {name for key in keys for name in train.describe(key).split(" + ")}
        assert drawn == {f"{source}/sound {number}.wav" for source in ("vocals", "drums", "bass") for number in (0, 1)}
    examples = [train[index] for index in range(6)]
    assert all(example.shape == examples[0].shape for example in examples)
    whole = [example[0] for example in examples if abs(float(example[0].mean()) - .25) < 0.01]
    assert whole and all(float((wav[:, 100:-100] - .25).abs().max()) < 1e-3 for wav in whole)


@pytest.mark.parametrize("kind", ["aligned", "trackfolder_fix", "trackfolder_var"])
def test_rates_that_differ_within_a_track_are_an_error(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    constant(root / "train" / "train 1" / "vocals.wav", 0.1, rate=2 * RATE)
    with pytest.raises(FaultyTracks, match="train 1.*has (16000|8000) Hz, .* all files of a track must have the same rate"):
        sets(kind, root)


@pytest.mark.parametrize("kind", FILES)
def test_mono_among_stereo(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    mono = root / "train" / ("vocals" if kind == "sourcefolder" else "train 0")
    constant(mono / ("sound 0.wav" if kind == "sourcefolder" else "vocals.wav"), 0.1)
    train, _ = sets(kind, root)
    examples = [train[index] for index in range(12 if kind == "sourcefolder" else 6)]
    assert {example.shape[1:] for example in examples} == {(2, RATE)}
    assert any(torch.equal(wav[0], wav[1]) and round(float(wav.mean()), 4) == .1 for wav, *_ in examples)


# Tests and evaluation.

@pytest.mark.parametrize("kind", FILES)
def test_the_songs_of_the_validation_are_tested_where_there_are_no_others(tmp_path, caplog, kind):
    root = make(kind, tmp_path / "db")
    layout = {"files": FILES[kind].text()}
    named = sources(kind, FILES[kind])
    own = song_set(root, sources=named, kind=kind, layout=layout)
    assert own.name == "db test" and len(own.tracks) == 2 and "has no folder test/" not in caplog.text
    for path in sorted((root / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "test").rmdir()
    found = song_set(root, sources=named, kind=kind, layout=layout)
    assert found.name == "db valid" and len(found.tracks) == 2 and "has no folder test/" in caplog.text
    song = found.tracks[0].read()
    found.tracks[0].check()
    assert song.references.shape == (len(named), 2, 2 * RATE) and song.mix.shape == (2, 2 * RATE)
    if kind in ("sourcefolder", "trackfolder_fix"):
        torch.testing.assert_close(song.references.sum(0), song.mix, atol=1e-6, rtol=0)


def test_sums_of_sources_are_tested_too(tmp_path):
    root = make("trackfolder_fix", tmp_path / "db")
    targets = {"vocals": ["vocals"], "band": ["drums", "bass"]}
    (track, _) = kind_tracks(root, kind="trackfolder_fix", layout={"files": FILES["trackfolder_fix"].text()},
                             sources=["vocals", "band"], targets=targets, stems=["vocals", "drums", "bass"])
    song = track.read()
    torch.testing.assert_close(song.references.sum(0), song.mix, atol=1e-6, rtol=0)


def test_test_songs_of_sounds_use_every_file_and_one_rate(tmp_path):
    root = make("sourcefolder", tmp_path / "db")
    write(root / "test" / "drums" / "sound 2.wav", noise(3, 1.), 2 * RATE)
    tracks = kind_tracks(root, kind="sourcefolder", layout={"files": FILES["sourcefolder"].text()},
                         sources=["vocals", "drums", "bass"])
    assert [track.name for track in tracks] == ["0001 sound 0", "0002 sound 1", "0003 sound 0"]
    song = tracks[2].read()
    assert song.samplerate == 2 * RATE and song.mix.shape == (2, 4 * RATE)
    torch.testing.assert_close(song.references.sum(0), song.mix, atol=1e-6, rtol=0)
    assert not song.references[1, :, 2 * RATE:].any() and [track.name for track in kind_tracks(
        root, kind="sourcefolder", layout={"files": FILES["sourcefolder"].text()}, sources=["bass", "drums", "vocals"])]


# Names.

@pytest.mark.parametrize("kind,names,message", [
    ("aligned", {"input": "a.wav"}, "dset.kind=aligned needs dset.files.output"),
    ("aligned", {"input": "a.wav", "output": "voc*.wav"}, "is a pattern; name the target by dset.files.target"),
    ("sourcefolder", {"target": "a"}, "needs dset.files.interferers: give the folders of the other sources"),
    ("sourcefolder", {"target": "a/b", "interferers": ["c"]}, "dset.files.target='a/b' must be the name of a folder"),
    ("trackfolder_fix", {"target": "a.wav", "interferers": ["a.flac"]}, "'a' is named twice"),
    ("trackfolder_fix", {"target": "../a.wav", "interferers": ["b.wav"]}, "dset.files.target='../a.wav' must be the name"),
    ("trackfolder_fix", {"target": "a.wav", "interferers": ["/b.wav"]}, "dset.files.interferers='/b.wav' must be the name"),
    ("trackfolder_fix", {"target": "rest.wav", "interferers": ["b.wav"]}, "'rest' cannot be the name of a source"),
    ("trackfolder_var", {}, "dset.kind=trackfolder_var needs dset.files.target: give the name of the file, such as"),
    ("trackfolder_var", {"target": "mixture.wav"}, "'mixture' cannot be the name of a source"),
    ("trackfolder_var", {"target": "a.wav", "ext": "/"}, "dset.files.ext='/' is no suffix"),
    ("trackfolder_var", {"target": "a.wav", "interferers": ["b.wav"]},
     "dset.files.interferers=.* has no effect with dset.kind=trackfolder_var; leave it out, or choose dset.kind=sourcefolder or "
     "trackfolder_fix"),
    ("musdb", {"target": "vocals.wav"}, "dset.files.target=vocals.wav has no effect with dset.kind=musdb"),
])
def test_names_that_cannot_be_used(kind, names, message):
    with pytest.raises(ConfigError, match=message):
        check(kind, FileNames(**names))


def test_sources_are_named_after_their_files():
    files = FileNames(target="lead.vocals.flac", interferers=["bass.flac", "stems/drums.flac"])
    check("trackfolder_fix", files)
    assert sources("trackfolder_fix", files) == ["lead.vocals", "bass", "drums"]
    assert sources("aligned", FileNames(input="noisy.wav", output="clean.wav")) == ["clean"]
    assert sources("sourcefolder", FILES["sourcefolder"]) == ["vocals", "drums", "bass"]
    assert sources("musdb", FileNames()) == []
    assert chosen_sources("musdb", FileNames(), ["a"], SOURCES) == ["a"]
    files = FILES["trackfolder_fix"]
    assert chosen_sources("trackfolder_fix", files, SOURCES, SOURCES) == ["vocals", "drums", "bass"]
    assert chosen_sources("trackfolder_fix", files, ["bass", "vocals", "drums"], SOURCES) == ["bass", "vocals", "drums"]
    with pytest.raises(ConfigError, match="dset.sources=.*vocal,drums,bass.* names the sources vocals, .*Did you mean 'vocals'"):
        chosen_sources("trackfolder_fix", files, ["vocal", "drums", "bass"], SOURCES)


def test_names_survive_a_record():
    for files in FILES.values():
        assert FileNames.parse(files.text()) == files
    assert FileNames().text() == "" and FileNames.parse("") == FileNames()
    for text in ("[]", "{", '{"target": 3}', '{"interferers": "a"}', '{"path": "x"}', '{"ext": null}'):
        with pytest.raises(ConfigError, match="are no names of files"):
            FileNames.parse(text)


def test_the_test_set_of_an_exported_model():
    settings = {"dset.kind": "trackfolder_fix", "dset.musdb": "/data", "dset.missing": "exclude",
                "dset.files.target": "vocals.wav", "dset.files.interferers": "[drums.wav,bass.wav]"}
    found = test_sets.from_overrides(settings, ["vocals", "drums", "bass"])
    assert found.kind == "trackfolder_fix" and found.stems == ["vocals", "drums", "bass"]
    assert FileNames.parse(found.layout["files"]) == FILES["trackfolder_fix"] and found.layout["missing"] == "exclude"
    same = test_sets.from_overrides({**settings, "dset.files.interferers": ["drums.wav", "bass.wav"]}, [])
    assert same.layout == found.layout
