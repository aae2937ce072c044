"""Atomic writing of files, and checks before writing."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from demucs import files


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with files.atomic(path) as file:
        file.write(b"first")
        assert not path.exists()
    for error in (KeyboardInterrupt, OSError):
        with pytest.raises(error):
            with files.atomic(path) as file:
                file.write(b"second")
                raise error
        with pytest.raises(error):
            with files.beside(path) as temporary:
                temporary.write_bytes(b"third")
                assert temporary.suffix == ".bin"
                raise error
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]
    with files.beside(path) as temporary:
        temporary.write_bytes(b"fourth")
    assert path.read_bytes() == b"fourth" and list(path.parent.iterdir()) == [path]


def test_a_link_is_kept(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.txt").symlink_to(tmp_path / "disk" / "b.txt")
    files.write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "disk" / "b.txt").read_text() == "text"


def test_names_as_long_as_they_can_be_and_no_text(tmp_path):
    for name in ("ü" * 125 + ".txt", os.fsdecode(b"\xff\xfe.txt")):
        files.write_text(tmp_path / name, "a \udcff")
        assert (tmp_path / name).read_text() == "a \\udcff"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_speaks_against_a_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "x")
    (tmp_path / "later.wav").symlink_to(tmp_path / "target.wav")
    assert files.obstacle(tmp_path / "a" / "b" / "c.wav") == "" == files.obstacle(tmp_path / "file")
    assert files.obstacle(tmp_path / "later.wav") == ""
    for path, words in ((tmp_path / "file" / "c.wav", "file is a file, not a folder"), (tmp_path, "is a folder"),
                        (tmp_path / "gone" / "c.wav", "gone is a link to .*nowhere/x, which is not there"),
                        (tmp_path / "gone", "whose folder is not there"), (tmp_path / "a\0b", "null"),
                        (tmp_path / ("ü" * 130), "too long"), (tmp_path / "new" / ("a" * 256) / "c.wav", "is too long: 256 bytes")):
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(files.obstacle(path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written in" in files.obstacle(tmp_path / "c.wav")
    assert files.free_bytes(tmp_path / "a" / "b") > 0


LIMITED = """
import resource, signal
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
import torch
from demucs.errors import AudioError
from demucs.audio import save_audio
for name in ("a.wav", "b.flac", "c.mp3"):
    for more in ({}, {"bits_per_sample": 24}, {"as_float": True}):
        try:
            save_audio(torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (2, 200_000))).float(), name, 44100, **more)
        except AudioError as error:
            print(error)
from demucs.files import atomic
try:
    with atomic("d.json") as file:
        file.write(bytes(100_000))
except OSError as error:
    print(error.filename, error.strerror)
"""


@pytest.mark.runs
def test_a_disk_that_is_full_half_way(tmp_path):
    """A limit of the operating system stands for it: writing fails at some byte, wherever libsndfile is then."""
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 10 and all("File too large" in line for line in lines)
    assert [line[:5] for line in lines[:9]] == [name for name in ("a.wav", "b.fla", "c.mp3") for _ in range(3)]
    assert lines[9] == "d.json File too large"
    assert os.listdir(tmp_path) == []
