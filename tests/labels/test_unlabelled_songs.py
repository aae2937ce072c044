"""Search of unlabelled songs, and their names."""

import os

import pytest

from demucs.errors import DatasetError
from demucs.labels.songs import find_unlabelled


def make(root, *files):
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    return root


def names(root):
    return {song.relative: song.name for song in find_unlabelled(root)[0]}


def test_files_at_any_depth_and_folders_with_a_mixture(tmp_path):
    root = make(tmp_path, "one.wav", "Album/Two.FLAC", "Album/CD 1/three.m4a", "musdb/Song/mixture.wav",
                "musdb/Song/vocals.wav", "musdb/Song/more/x.wav", "notes.txt", ".hidden.wav", "._one.wav", ".git/x.wav",
                "A - B.stem.mp4")
    assert names(root) == {
        "one.wav": "one", "Album/Two.FLAC": "Album - Two", "Album/CD 1/three.m4a": "Album - CD 1 - three",
        "musdb/Song/mixture.wav": "musdb - Song", "A - B.stem.mp4": "A - B"}


def test_names_are_unique_whatever_the_file_system_makes_of_case(tmp_path):
    root = make(tmp_path, "a.wav", "a.flac", "A.mp3", "x/y.wav", "x - y.wav")
    found = list(names(root).values())
    assert len({name.casefold() for name in found}) == 5
    assert sorted(found) == sorted(["A", "a (2)", "a (3)", "x - y", "x - y (2)"])


@pytest.mark.parametrize("file", ["üñï – ‘quotes’ \"and\" 'more'.wav", "new\nline.wav", "x. .wav", " .wav",
                                  110 * "ä" + ".wav"])
def test_names_are_those_of_folders(tmp_path, file):
    make(tmp_path / "in", file)
    (name,) = names(tmp_path / "in").values()
    assert not name.startswith(".") and "/" not in name and name == name.strip() and name.isprintable()
    (tmp_path / f".{name}.partial").mkdir()
    assert len(os.fsencode(name)) <= 151


def test_bytes_that_are_no_text(tmp_path):
    folder = os.fsencode(tmp_path)
    with open(folder + b"/caf\xe9.wav", "wb") as file:
        file.write(b"-")
    assert names(tmp_path) == {"caf\\xe9.wav": "caf\\xe9"}


def test_links(tmp_path):
    root = make(tmp_path / "songs", "one.wav")
    make(tmp_path / "elsewhere", "two.wav")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "broken.wav").symlink_to(tmp_path / "gone.wav")
    songs, faults = find_unlabelled(root)
    assert sorted(song.name for song in songs) == ["linked - two", "one"]
    assert set(faults) == {"loop", "broken.wav"}
    assert "remove the link" in faults["loop"] and "gone.wav" in faults["broken.wav"]


def test_no_song_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        find_unlabelled(tmp_path / "nowhere")
    make(tmp_path, "notes.txt")
    with pytest.raises(DatasetError, match="contains no audio file"):
        find_unlabelled(tmp_path)
