"""Blocks of a file are the samples that `audio.reading` reads at once, and its errors are the same."""

import subprocess

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs.audio import reading
from demucs.audio.blocks import BlockReader
from demucs.audio.sequential import SequentialFile
from demucs.errors import AudioError

RATE = 44100


def blocks(path, size, **options):
    with BlockReader(path, **options) as reader:
        found = []
        while not found or found[-1].shape[1] == size:
            found.append(reader.next(size))
        assert reader.next(size).shape == (reader.channels, 0)
    return np.concatenate(found, axis=1), reader.samplerate


def sound(path, subtype, channels=2, length=50000):
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((length, channels)), RATE, subtype=subtype)
    return path


@pytest.mark.parametrize("name, subtype, channels", [
    ("a.wav", "PCM_16", 2), ("a.wav", "PCM_24", 1), ("a.wav", "FLOAT", 2), ("a.wav", "PCM_U8", 2),
    ("a.flac", "PCM_16", 2), ("a.flac", "PCM_24", 3), ("a.ogg", "VORBIS", 2),
    ("a.mp3", "MPEG_LAYER_III", 2), ("a.aiff", "PCM_16", 2)])
@pytest.mark.parametrize("size", [50000, 4096, 50001])
def test_blocks_are_the_samples_of_the_file(tmp_path, name, subtype, channels, size):
    path = sound(tmp_path / name, subtype, channels)
    expected, rate = reading.read(path)
    found, samplerate = blocks(path, size)
    assert found.dtype == np.float32 and samplerate == rate
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("name, subtype", [("a.wav", "PCM_16"), ("a.flac", "PCM_16"), ("a.flac", "PCM_24")])
def test_reads_do_not_seek(tmp_path, monkeypatch, name, subtype):
    path = sound(tmp_path / name, subtype)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    positions = []
    plain = soundfile.SoundFile.seek
    monkeypatch.setattr(soundfile.SoundFile, "seek",
                        lambda file, frames, *more: positions.append(frames) or plain(file, frames, *more))
    np.testing.assert_array_equal(blocks(path, 4096)[0].T, expected)
    assert positions == []
    with SequentialFile(path) as file:
        for start in (30000, 100, 49990):
            assert file.seekable() and file.seek(start) == start
            np.testing.assert_array_equal(file.read(300, dtype="float32"), expected[start:start + 300])
            np.testing.assert_array_equal(file.read(200, dtype="float32"), expected[start + 300:start + 500])
    assert positions == [30000, 100, 49990]


def test_blocks_of_a_file_for_ffmpeg(tmp_path):
    require_program("ffmpeg")
    sound(tmp_path / "a.wav", "PCM_16")
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "a.wav"), str(tmp_path / "a.m4a")], check=True)
    np.testing.assert_array_equal(blocks(tmp_path / "a.m4a", 4096)[0], reading.read(tmp_path / "a.m4a")[0].numpy())


def test_blocks_of_a_part_of_a_file(tmp_path):
    path = sound(tmp_path / "a.wav", "PCM_16")
    wav = torch.arange(20.).reshape(2, 10)
    found, rate = blocks(path, 4, load=lambda: (wav, 8000))
    assert rate == 8000
    np.testing.assert_array_equal(found, wav.numpy())


@pytest.mark.parametrize("name, subtype", [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")])
def test_truncated_files_are_errors(tmp_path, name, subtype):
    path = sound(tmp_path / name, subtype)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    with pytest.raises(AudioError, match="truncated|damaged|damage"):
        blocks(path, 4096)
    path.write_bytes(b"")
    with pytest.raises(AudioError, match="empty"):
        blocks(path, 4096)
    path.write_bytes(b"no audio" * 100)
    with pytest.raises(AudioError):
        blocks(path, 4096)


def test_files_without_samples_are_errors(tmp_path):
    path = sound(tmp_path / "a.wav", "PCM_16", length=0)
    with pytest.raises(AudioError, match="zero length"):
        blocks(path, 4096)
