"""Checks of a pipeline before anything is queued."""

import shutil
from collections import namedtuple

import pytest
from omegaconf import OmegaConf
from training.small import TINY

from demucs import precheck, signature
from demucs.config import read
from demucs.errors import ConfigError, DatasetError, DemucsError, TrainingError
from demucs.train import main


def configured(songs, *overrides):
    argv = [*TINY, f"dset.musdb={songs}", f"dset.metadata={songs.parent / 'cache'}", *overrides]
    return argv, read(OmegaConf.to_container(main.get_xp(argv).cfg, resolve=True))


def check(songs, *overrides, ranks=1):
    return precheck.check(configured(songs, *overrides)[1], ranks=ranks, folder=songs.parent / "outputs" / "xps" / "x")


def test_a_training_that_can_begin(songs, monkeypatch):
    assert check(songs) == songs and check(songs, "batch_size=8", ranks=2) == songs
    argv, _ = configured(songs)
    monkeypatch.chdir(songs.parent)
    plain = signature.signature(argv)
    assert signature.signature(argv, ranks=1) == f"{plain}\n{songs}"


@pytest.mark.parametrize("overrides, ranks, kind, words", [
    (["batch_size=6", "augment.remix.proba=0"], 4, ConfigError, "batch_size=6 cannot be split evenly over 4 ranks"),
    (["batch_size=8", "augment.remix.group_size=4"], 4, ConfigError, "2 examples per rank cannot be remixed in groups of 4"),
    (["batch_size=4000"], 1, TrainingError, "the training set has .* examples and batch_size=4000"),
    (["dset.wav=nowhere"], 1, DatasetError, "nowhere/train does not exist"),
    (["dset.wav=nowhere", "dset.use_musdb=false"], 1, DemucsError, "dset.wav=nowhere.*; moreover: .*nowhere/train"),
    (["test.nonhq=nowhere"], 1, DatasetError, "test.nonhq=nowhere"),
    (["batch_size=5", "dset.musdb=nowhere"], 2, ConfigError, "no such folder.*; moreover: .*batch_size=5.*nowhere/train")])
def test_what_cannot_begin_is_named(songs, overrides, ranks, kind, words):
    with pytest.raises(kind, match=words) as caught:
        check(songs, *overrides, ranks=ranks)
    assert "\n" not in str(caught.value)


def test_faulty_songs_are_named(songs):
    (songs / "train" / "Song 1" / "bass.wav").write_bytes(b"")
    with pytest.raises(DatasetError, match="Song 1/bass.wav"):
        check(songs)
    shutil.copy(songs / "train" / "Song 0" / "bass.wav", songs / "train" / "Song 1" / "bass.wav")
    (songs / "test" / "Test song" / "bass.wav").unlink()
    with pytest.raises(DatasetError, match=r"Test song: lacks the stem bass\.wav"):
        check(songs)


def test_own_data_are_scored_on_their_own_test_songs_or_on_musdb(songs, monkeypatch, tmp_path):
    own = tmp_path / "own"
    for part in ("train", "valid", "test"):
        shutil.copytree(songs / "train", own / part)
    overrides = (f"dset.wav={own}", "dset.use_musdb=false")
    monkeypatch.setenv("DEMUCS_MUSDB", str(songs))
    assert check(songs, *overrides) == own
    shutil.rmtree(own / "test")
    assert check(songs, *overrides) == songs
    monkeypatch.setenv("DEMUCS_MUSDB", "nowhere")
    with pytest.raises(DatasetError, match="nowhere/test: no such folder"):
        check(songs, *overrides)


def test_room_for_checkpoints(songs, monkeypatch):
    size, count = precheck.checkpoint_bytes(configured(songs)[1])
    assert count == 3 and precheck.checkpoint_bytes(configured(songs, "save_every=1")[1]) == (size, 6)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(0, 0, size * count - 1))
    with pytest.raises(TrainingError, match=r"has 0\.0 GB of free space, and 3 checkpoints of x take 0\.0 GB at least"):
        check(songs)
    (songs.parent / "outputs" / "xps" / "x").mkdir(parents=True)
    (songs.parent / "outputs" / "xps" / "x" / "checkpoint.th").write_bytes(b"x")      # of before, which is replaced
    assert check(songs) == songs
