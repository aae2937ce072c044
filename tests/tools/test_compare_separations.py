"""The comparison of two folders of separated songs finds all differences."""

import sys

import numpy as np
import pytest
import soundfile

from tools import compare_separations as tool


def write(path, samples, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def run(tmp_path, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path / "a"), str(tmp_path / "b"), *options])
    return tool.main()


@pytest.fixture
def music(tmp_path):
    samples = np.random.default_rng(0).integers(-3000, 3000, (500, 2)).astype(np.int16)
    for folder in "ab":
        write(tmp_path / folder / "song" / "bass.wav", samples)
    return samples


def test_equal_and_nearly_equal(music, tmp_path, monkeypatch, capsys):
    assert run(tmp_path, monkeypatch, "--steps", "0") == 0
    assert "song/bass.wav: 0 of 1000 samples differ; largest difference in steps of 16 bits: 0" in capsys.readouterr().out
    music[7, 1] += 1
    music[9, 0] -= 1
    write(tmp_path / "b" / "song" / "bass.wav", music)
    assert run(tmp_path, monkeypatch) == 0
    assert "2 of 1000 samples differ; largest difference in steps of 16 bits: 1" in capsys.readouterr().out
    assert run(tmp_path, monkeypatch, "--steps", "0") == 1


def test_what_is_refused(music, tmp_path, monkeypatch, capsys):
    other = tmp_path / "b" / "song" / "bass.wav"
    music[7, 1] += 2
    write(other, music)
    assert run(tmp_path, monkeypatch) == 1
    write(other, music[:-1])
    assert run(tmp_path, monkeypatch) == 1 and "(499, 2)" in capsys.readouterr().err
    write(other, music, rate=16000)
    assert run(tmp_path, monkeypatch) == 1 and "16000 Hz" in capsys.readouterr().err
    other.write_bytes(b"no audio")
    assert run(tmp_path, monkeypatch) == 1 and "song/bass.wav" in capsys.readouterr().err
    other.rename(other.with_name("drums.wav"))
    assert run(tmp_path, monkeypatch) == 1 and "drums.wav" in capsys.readouterr().err
