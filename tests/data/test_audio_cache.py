"""Decoded copies of datasets: the same samples, from disk or memory."""

import logging
import shutil
from collections import namedtuple

import numpy as np
import pytest
import soundfile
import torch
from data.songs import RATE, noise, write

from demucs.data.audio_cache import AudioCache
from demucs.data.build import build_policy, kind_sets
from demucs.dsp.convert import resample
from demucs.errors import DatasetError

FORMATS = (("drums.wav", "PCM_16"), ("bass.flac", "PCM_24"), ("other.wav", "FLOAT"), ("vocals.aiff", "PCM_16"), ("piano.ogg", "VORBIS"),
           ("guitar.mp3", "MPEG_LAYER_III"), ("strings.wav", "PCM_32"), ("choir.wav", "PCM_24"))
SOURCES = [name.partition(".")[0] for name, _ in FORMATS]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    for split in ("train", "valid"):
        for number, (name, subtype) in enumerate(FORMATS):
            write(folder / split / "song" / name, noise(number, 3., 1 + number % 2), 16000, subtype)
    return folder


def sets(root, cache, tmp_path, samplerate=16000, sources=SOURCES):
    return kind_sets("wav", root, sources=sources, policy=build_policy("grid", segment=.5, shift=.3, seed=0), samplerate=samplerate,
                     channels=2, normalize=True, full_cv=True, cache_dir=tmp_path / "meta", cache=cache)


@pytest.fixture(scope="module")
def same_length(root):
    """The set without the lossy formats, whose lengths differ."""
    return [source for source in SOURCES if source not in ("piano", "guitar")]


@pytest.mark.parametrize("mode", ["flac", "memory"])
def test_samples_are_equal(root, same_length, tmp_path, mode):
    plain = sets(root, AudioCache(), tmp_path / "plain", sources=same_length)
    cache = AudioCache(mode, tmp_path / "audio", 16000)
    for _ in range(2):
        cached = sets(root, cache, tmp_path / mode, sources=same_length)
        for ours, theirs in zip(cached, plain):
            assert len(ours) == len(theirs)
            assert all(torch.equal(ours[index], theirs[index]) for index in range(len(ours)))
    copies = list((tmp_path / "audio").glob("*"))
    assert sorted({path.suffix for path in copies}) == ([".flac", ".wav"] if mode == "flac" else [])


@pytest.mark.parametrize("source", ["piano", "guitar"])
@pytest.mark.parametrize("mode", ["flac", "memory"])
def test_samples_of_lossy_formats(root, tmp_path, source, mode):
    """A decoder that starts in the middle of a file may round otherwise than one that comes from its beginning."""
    plain, _ = sets(root, AudioCache(), tmp_path / "plain", sources=[source])
    cached, _ = sets(root, AudioCache(mode, tmp_path / "audio"), tmp_path / mode, sources=[source])
    for index in range(len(plain) - 1):
        torch.testing.assert_close(cached[index], plain[index], atol=1e-5, rtol=0)


def test_int16_is_resampled_once(root, same_length, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cache = AudioCache("int16", tmp_path / "audio", RATE)
    train, valid = sets(root, cache, tmp_path, RATE, same_length)
    meta = valid.index.tracks["song"]
    assert meta.samplerate == RATE and len(list((tmp_path / "audio").glob(f"*-{RATE}.wav"))) == 2 * len(same_length)
    wav, rate = soundfile.read(root / "valid" / "song" / "drums.wav", dtype="float32", always_2d=True)
    expected = resample(torch.from_numpy(wav.T.copy()), rate, RATE).expand(2, -1)
    got = valid[0][1 + same_length.index("drums")] * meta.std + meta.mean
    assert (got - expected).abs().max() <= .5 / 2 ** 15 + 1e-6
    caplog.clear()
    sets(root, cache, tmp_path, RATE, same_length)
    assert "Scanning" not in caplog.text


def test_a_changed_file_is_copied_again(tmp_path):
    for split in ("train", "valid"):
        for source in ("drums", "bass"):
            write(tmp_path / "db" / split / "song" / f"{source}.wav", noise(1), subtype="PCM_16")
    cache = AudioCache("flac", tmp_path / "audio", RATE)
    before = sets(tmp_path / "db", cache, tmp_path, RATE, ["drums", "bass"])[0][0]
    write(tmp_path / "db" / "train" / "song" / "bass.wav", noise(7), subtype="PCM_16")
    after = sets(tmp_path / "db", cache, tmp_path, RATE, ["drums", "bass"])[0][0]
    assert not torch.equal(before[1], after[1])
    assert torch.equal(after, sets(tmp_path / "db", AudioCache(), tmp_path, RATE, ["drums", "bass"])[0][0])


def test_samples_beyond_full_scale_are_clipped_and_named(tmp_path, caplog):
    for split in ("train", "valid"):
        for source in ("drums", "bass"):
            write(tmp_path / "db" / split / "song" / f"{source}.wav", np.full((RATE, 1), 1.5 if source == "bass" else .5))
    sets(tmp_path / "db", AudioCache("int16", tmp_path / "audio", RATE), tmp_path, RATE, ["drums", "bass"])
    assert f"bass.wav: {RATE} samples are beyond full scale" in caplog.text and "drums.wav" not in caplog.text


def test_faults(tmp_path, monkeypatch):
    for split in ("train", "valid"):
        write(tmp_path / "db" / split / "song" / "drums.wav", noise(1))
        write(tmp_path / "db" / split / "song" / "bass.wav", noise(2))
    (tmp_path / "db" / "train" / "song" / "bass.wav").write_bytes(b"RIFF")
    with pytest.raises(DatasetError, match="track song: .*bass.wav"):
        sets(tmp_path / "db", AudioCache("flac", tmp_path / "audio"), tmp_path, RATE, ["drums", "bass"])
    write(tmp_path / "db" / "train" / "song" / "bass.wav", noise(2))
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be written .*dset.cache_folder"):
        sets(tmp_path / "db", AudioCache("int16", tmp_path / "file" / "audio", 4000), tmp_path, 4000, ["drums", "bass"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 100))
    with pytest.raises(DatasetError, match="has 0 MB of free space, too little for dset.cache=int16"):
        sets(tmp_path / "db", AudioCache("int16", tmp_path / "other", 4000), tmp_path, 4000, ["drums", "bass"])
    assert not list((tmp_path / "other").glob("*"))
