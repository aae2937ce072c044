"""The command for folders of songs: recursion, stems that are there, a last line, and songs that fail."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from demucs import separate, song_jobs
from demucs.api import Separator
from demucs.audio import reading
from demucs.errors import AudioError
from demucs.models import zoo
from demucs.packages import package
from demucs.separation import outputs
from demucs.separation.inputs import songs_in

pytestmark = pytest.mark.runs

RATE, SOURCES = 16000, ["drums", "vocals"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in a folder; returns its exit status."""
    torch.manual_seed(0)
    model = zoo.build("demucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=1., channels=2, depth=2,
                      resample=False, rewrite=False, lstm_layers=0, dconv_mode=0)
    card = package.new_card(model, signature="cafe0001", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "repo" / "cafe0001.th", card=card)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            separate.main(["--repo", "repo", "-n", "cafe0001", "-d", "cpu", *map(str, arguments)])
        except SystemExit as end:
            return end.code
        return 0
    return call


@pytest.fixture
def music(tmp_path):
    """music/a.wav, music/disc 1/a.FLAC, music/disc 1/b.mp3 and other files."""
    for index, name in enumerate(("a.wav", "disc 1/a.FLAC", "disc 1/b.mp3", ".hidden.wav", ".cache/c.wav")):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        form = {".flac": "FLAC", ".mp3": "MP3"}.get(path.suffix.lower(), "WAV")
        soundfile.write(path, 0.1 * np.random.default_rng(index).normal(size=(RATE * (index + 1), 2)), RATE, format=form)
    (tmp_path / "music" / "cover.jpg").write_bytes(b"not audio")
    return tmp_path / "music"


def written(tmp_path):
    folder = tmp_path / "separated" / "cafe0001"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def ages(tmp_path):
    return {name: (tmp_path / "separated" / "cafe0001" / name).stat().st_mtime_ns for name in written(tmp_path)}


STEMS = [f"{song}/{stem}.wav" for song in ("a", "disc 1/a", "disc 1/b") for stem in SOURCES]


def test_a_folder_with_its_subfolders(run, music, tmp_path, capsys):
    assert run("-r", music) == 0
    assert written(tmp_path) == sorted(STEMS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [f"Separating track {music / name}" for name in ("a.wav", "disc 1/a.FLAC", "disc 1/b.mp3")]
    assert re.fullmatch(r"3 songs: 3 separated, 0 failed \| 0\.1 min of audio in \d+\.\d min, \d+\.\d times real time", lines[4])
    assert len(lines) == 5


def test_stems_equal_those_of_single_songs(run, music, tmp_path):
    assert run("-r", music) == 0 and run("-o", "single", music / "disc 1" / "b.mp3") == 0
    for stem in SOURCES:
        assert (tmp_path / "separated" / "cafe0001" / "disc 1" / "b" / f"{stem}.wav").read_bytes() == \
            (tmp_path / "single" / "cafe0001" / "b" / f"{stem}.wav").read_bytes()


def test_files_and_folders(run, music, tmp_path):
    """Two songs of one name in different folders get a number, as without folders."""
    assert run("-r", music, music / "a.wav", "music/disc 1") == 0
    assert written(tmp_path) == sorted([*STEMS, *(f"{song}/{stem}.wav" for song in ("a (2)", "a (3)", "b") for stem in SOURCES)])


def test_stems_are_not_separated_again(run, music, tmp_path):
    """Where they are inside of the folder of the songs."""
    for _ in range(2):
        assert run("-r", ".", "-o", "music/results") == 0
    names = {str(path.relative_to(music / "results" / "cafe0001")) for path in (music / "results").rglob("*.wav")}
    assert names == {f"music/{name}" for name in STEMS}


def test_folders_without_the_flag(run, music, capsys):
    assert run(music, "-n", "cafe0001") == 1
    assert "music: is a folder, not an audio file" in capsys.readouterr().err


def test_a_folder_without_audio(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "text.txt").write_text("x")
    assert run("-r", "empty", "missing.wav") == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("error: empty: there is no audio file in this folder") and "*.flac" in errors[0]
    assert errors[1:] == ["error: missing.wav: no such file"]


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(AudioError, match="music: cannot be read .Permission denied."):
        songs_in(Path("music"))


def test_links_to_folders_are_not_followed(music, tmp_path):
    (music / "loop").symlink_to(music)
    assert [song.path.name for song in songs_in(music)] == ["a.wav", "a.FLAC", "b.mp3"]


@pytest.mark.parametrize("form", [(), ("--int24",), ("--float32",), ("--flac",), ("--flac", "--int24"), ("--mp3",),
                                  ("--two-stems", "vocals", "--other-method", "none"), ("--mp3", "--mp3-bitrate", 8)], ids=str)
def test_songs_with_stems_are_skipped(run, form, music, tmp_path, capsys):
    assert run("-r", music, "--skip-existing", *form) == 0
    before = ages(tmp_path)
    assert "0 skipped, 0 failed" in capsys.readouterr().out.splitlines()[-1]
    assert run("-r", music, "--skip-existing", *form) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ages(tmp_path) == before
    assert lines[1:4] == [f"Skipping track {music / name}: its stems are complete"
                          for name in ("a.wav", "disc 1/a.FLAC", "disc 1/b.mp3")]
    assert lines[4].startswith("3 songs: 0 separated, 3 skipped, 0 failed | 0.0 min of audio")
    assert run("-r", music, *form) == 0
    assert all(age > before[name] for name, age in ages(tmp_path).items())


def cut(path, size=-100):
    path.write_bytes(path.read_bytes()[:size])


def shorten(path):
    wav, rate = reading.read(path)
    reading.write(path, wav[:, :-1], rate)


DAMAGE = {"missing": Path.unlink, "cut": cut, "empty": lambda path: path.write_bytes(b""), "shorter": shorten,
          "text": lambda path: path.write_text("no audio " * 1000), "mono": lambda path: reading.write(
              path, reading.read(path)[0][:1], RATE), "other rate": lambda path: reading.write(
                  path, reading.read(path)[0], RATE + 1)}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("form", [(), ("--flac",), ("--mp3",)], ids=str)
def test_partial_stems_are_written_again(run, form, damage, music, tmp_path):
    assert run("-r", music, *form) == 0
    suffix = form[0].strip("-") if form else "wav"
    path = tmp_path / "separated" / "cafe0001" / "disc 1" / "a" / f"vocals.{suffix}"
    right = path.read_bytes()
    if damage == "shorter" and suffix == "mp3":
        cut(path, -5000)
    elif damage == "other rate" and suffix == "mp3":
        reading.write(path, reading.read(path)[0], RATE // 2)
    else:
        DAMAGE[damage](path)
    before = ages(tmp_path)
    assert run("-r", music, "--skip-existing", *form) == 0
    assert path.read_bytes() == right
    again = {name for name, age in ages(tmp_path).items() if age != before.get(name)}
    assert again == {f"disc 1/a/{stem}.{suffix}" for stem in SOURCES}


def test_stems_of_another_format_are_written_again(run, music, tmp_path):
    assert run("-r", music) == 0
    before = ages(tmp_path)
    assert run("-r", music, "--skip-existing", "--int24") == 0
    assert all(age > before[name] for name, age in ages(tmp_path).items())


def test_a_bad_song_between_others(run, music, tmp_path, capsys):
    (music / "b.wav").write_bytes(b"RIFF")
    (music / "disc 1" / "a2.mp3").write_text("no audio")
    assert run("-r", music, "--skip-existing") == 1
    out, err = capsys.readouterr()
    errors = err.splitlines()
    assert len(errors) == 2 and "b.wav" in errors[0] and "a2.mp3" in errors[1]
    assert out.splitlines()[-1].startswith("5 songs: 3 separated, 0 skipped, 2 failed | ")
    assert written(tmp_path) == sorted(STEMS)


def test_ctrl_c_ends_all(run, music, tmp_path, capsys, monkeypatch):
    stream_song = Separator.stream_song

    def interrupted(self, song, *, name):
        for index, part in enumerate(stream_song(self, song, name=name)):
            if name == "a.FLAC":
                raise KeyboardInterrupt
            yield part
    monkeypatch.setattr(Separator, "stream_song", interrupted)
    assert run("-r", music) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert written(tmp_path) == ["a/drums.wav", "a/vocals.wav"]      # the song before is finished
    assert not (tmp_path / "separated" / "cafe0001" / "disc 1").exists()


def test_a_failure_leaves_no_folder(run, music, tmp_path, monkeypatch):
    stream_song = Separator.stream_song

    def failing(self, song, *, name):
        yield next(stream_song(self, song, name=name))
        raise RuntimeError("no more")
    monkeypatch.setattr(Separator, "stream_song", failing)
    assert run("-r", music, "--filename", "x/{track}/{stem}.{ext}") == 1
    assert not (tmp_path / "separated").exists()


def test_space_for_stems_that_are_rescaled(run, music, tmp_path, capsys, monkeypatch):
    """The temporary files of all stems beside the first stem; other modes need none."""
    monkeypatch.setattr(song_jobs, "kept_on_disk", lambda length, channels, clip: 8 * length * (clip == "rescale"))
    needed = 2 * 8 * RATE + 4 * RATE
    monkeypatch.setattr(outputs, "free_bytes", lambda path: needed - 1)
    assert run("music/a.wav") == 1
    assert re.search("no space left on device: 2 stems of 1 s need 1 MB until they are rescaled, 0 MB are free; .*"
                     "--clip-mode clamp, which needs 1 MB", capsys.readouterr().err)
    assert run("music/a.wav", "--clip-mode", "clamp") == 0
    monkeypatch.setattr(outputs, "free_bytes", lambda path: needed)
    assert run("music/a.wav") == 0


def test_batches_and_devices(run, music, tmp_path):
    assert run(music / "a.wav", "--float32", "--clip-mode", "none") == 0
    expected = {stem: reading.read(tmp_path / "separated" / "cafe0001" / "a" / f"{stem}.wav")[0] for stem in SOURCES}
    assert run(music / "a.wav", "--float32", "--clip-mode", "none", "--batch", 3, "-d", "cpu,cpu", "-o", "other") == 0
    for stem, wav in expected.items():
        torch.testing.assert_close(reading.read(tmp_path / "other" / "cafe0001" / "a" / f"{stem}.wav")[0], wav, rtol=0, atol=1e-5)


@pytest.mark.parametrize("arguments,message", [
    (["--batch", "0"], "--batch=0"), (["-d", "cpu,"], "a name between the commas is missing"),
    (["-d", "cpu,cuda:99"], "device 'cuda:99' cannot be used")])
def test_impossible_calls(run, arguments, message, music, tmp_path, capsys):
    assert run(music / "a.wav", *arguments) == 1
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and message in error and not (tmp_path / "separated").exists()
