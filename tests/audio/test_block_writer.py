"""Files written block by block are those that `save_audio` writes at once, byte for byte."""

import errno
import os

import pytest
import torch

from demucs.audio import block_writer, save_audio
from demucs.audio.block_writer import BlockWriter, Encoding, kept_on_disk
from demucs.errors import AudioError

RATE, LENGTH = 16000, 20_011


def wav(gain, channels=2):
    return gain * torch.randn(channels, LENGTH, generator=torch.Generator().manual_seed(1))


def write(path, samples, size=3001, **settings):
    with BlockWriter(path, samples.shape[1], len(samples), RATE, **settings) as writer:
        for block in samples.split(size, dim=-1):
            writer.write(block)


@pytest.fixture(params=[0, 10 ** 9], ids=["on disk", "in memory"])
def spool(request, monkeypatch):
    monkeypatch.setattr(block_writer, "IN_MEMORY", request.param or 1)
    monkeypatch.setattr(block_writer, "BLOCK", 4000)


@pytest.mark.parametrize("gain", [0.1, 2.])
@pytest.mark.parametrize("clip", ["rescale", "clamp", "none", "tanh"])
@pytest.mark.parametrize("name,encoding", [
    ("a.wav", {}), ("a.wav", {"bits_per_sample": 24}), ("a.wav", {"bits_per_sample": 32}), ("a.flac", {}),
    ("a.flac", {"bits_per_sample": 24}), ("a.mp3", {}), ("a.mp3", {"bitrate": 64, "preset": 7})])
def test_same_bytes(gain, clip, name, encoding, spool, tmp_path):
    (tmp_path / "whole").mkdir()
    save_audio(wav(gain), tmp_path / "whole" / name, RATE, clip=clip, **encoding)
    write(tmp_path / name, wav(gain), clip=clip, encoding=Encoding(**encoding))
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "whole"]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_floats(channels, tmp_path):
    from demucs.audio import reading
    samples = wav(2., channels)
    save_audio(samples, tmp_path / "whole.wav", RATE, as_float=True)
    write(tmp_path / "a.wav", samples, encoding=Encoding(as_float=True))
    assert torch.equal(reading.read(tmp_path / "a.wav")[0], reading.read(tmp_path / "whole.wav")[0])


@pytest.mark.parametrize("clip", ["rescale", "clamp", "none"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 5000, LENGTH - 1])
def test_samples_that_are_not_finite(clip, value, place, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"before")
    bad = wav(0.1)
    bad[1, place] = value
    if clip == "clamp" and value == float("inf"):
        bad[0, place] = float("nan")            # infinity is clamped, as by save_audio
    with pytest.raises(AudioError, match="a.wav: .*not finite"):
        write(tmp_path / "a.wav", bad, clip=clip)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("clip", ["rescale", "none"])
def test_an_exception_keeps_the_previous_file(clip, tmp_path):
    (tmp_path / "a.flac").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        with BlockWriter(tmp_path / "a.flac", LENGTH, 2, RATE, clip=clip) as writer:
            writer.write(wav(0.1))
            raise KeyboardInterrupt
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("clip", ["rescale", "none"])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_a_full_disk(clip, name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"before")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudioError, match=rf"{name}: cannot be written \(No space left on device\); free some space"):
        write(tmp_path / name, wav(0.1), clip=clip)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("name,settings,message", [
    ("a.ogg", {}, "cannot write .ogg"), ("a.flac", {"bits_per_sample": 32}, "32 bits per sample cannot be written"),
    ("nowhere/a.wav", {}, "cannot be written")])
def test_what_cannot_be_written(name, settings, message, tmp_path):
    with pytest.raises(AudioError, match=message):
        write(tmp_path / name, wav(0.1), encoding=Encoding(**settings))


def test_size_on_disk():
    assert kept_on_disk(10 ** 7, 2, "rescale") == 8 * 10 ** 7
    assert kept_on_disk(10 ** 7, 2, "clamp") == kept_on_disk(1000, 2, "rescale") == 0
