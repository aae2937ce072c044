"""Decoded copies of compressed MUSDB18, and trainings on them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import require_program
from training.small import ALONE, settings, solver_in

from demucs import building, precheck, schema
from demucs.audio import stems
from demucs.data import decoded, download
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.errors import DatasetError
from demucs.evaluation import test_sets
from demucs.evaluation.request import Request
from demucs.evaluation.tracks import song_set
from demucs.schema import SOURCES, DatasetDownload, save

stempeg = pytest.importorskip("stempeg")
NAMES = {"train": ["A - One", VALIDATION_TRACKS[0]], "test": ["C - Three"]}
RATE = ["dset.samplerate=44100"]


@pytest.fixture
def root(tmp_path):
    """Compressed MUSDB18 of three songs, which are one excerpt."""
    require_program("ffmpeg")
    for split, names in NAMES.items():
        (tmp_path / "musdb18" / split).mkdir(parents=True)
        for name in names:
            shutil.copy(stempeg.example_stem_path(), tmp_path / "musdb18" / split / f"{name}.stem.mp4")
    (tmp_path / "musdb18" / "train" / "._A - One.stem.mp4").write_text("left by macOS")
    return tmp_path / "musdb18"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_which_folders_are_compressed(root, tmp_path, songs):
    assert decoded.is_compressed(root) and decoded.is_compressed(str(root))
    for other in (songs, tmp_path / "nowhere", "", None, root / "train" / "A - One.stem.mp4", root / "train"):
        assert not decoded.is_compressed(other)


def test_a_split_is_decoded_once(root, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = decoded.decode(root, tmp_path / "cache")
    assert folder == decoded.folder_of(root, tmp_path / "cache") and names_in(folder / "train") == sorted(NAMES["train"])
    assert sum("decoded " in line for line in caplog.messages) == 2
    for name in NAMES["train"]:
        assert {f"{stem}.flac" for stem in stems.STREAMS} | {decoded.ORIGIN} == set(names_in(folder / "train" / name))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac")}
    assert sum(path.stat().st_size for path in before) < decoded.RATIO * sum(
        path.stat().st_size for path in decoded.stem_files(root / "train").values())
    caplog.clear()
    assert decoded.decode(root, tmp_path / "cache") == folder and not caplog.messages
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac")} == before
    assert decoded.decode(root, tmp_path / "cache", "test") == folder and names_in(folder / "test") == NAMES["test"]
    assert not (root / "train" / "A - One").exists(), "nothing is written into the dataset"


def test_files_that_change_come_or_go(root, tmp_path):
    folder = decoded.decode(root, tmp_path / "cache")
    one, other = (root / "train" / f"{name}.stem.mp4" for name in NAMES["train"])
    other.rename(root / "train" / "B - Two.stem.mp4")
    os.utime(one, ns=(1, 1))
    (folder / "train" / ".1234.tmp").mkdir()          # as an interrupted process leaves it
    shutil.copytree(folder / "train" / "A - One", folder / "train" / ".A - One.partial")
    before = (folder / "train" / "A - One" / "drums.flac").stat().st_mtime_ns
    decoded.decode(root, tmp_path / "cache", processes=1)
    assert names_in(folder / "train") == ["A - One", "B - Two"]
    assert (folder / "train" / "A - One" / "drums.flac").stat().st_mtime_ns > before


def test_faulty_files_are_named_together(root, tmp_path):
    for name in ("X", "Y"):
        (root / "train" / f"{name}.stem.mp4").write_text("no audio")
    with pytest.raises(DatasetError, match=r"2 tracks cannot be used: \(1\) track X: .*X.stem.mp4.*; \(2\) track Y"):
        decoded.decode(root, tmp_path / "cache")
    assert names_in(decoded.folder_of(root, tmp_path / "cache") / "train") == sorted(NAMES["train"])


def test_too_little_space(root, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "free_bytes", lambda _: 1000)
    with pytest.raises(DatasetError, match="free space, and the decoded copies of 2 stem files take about .* dset.metadata"):
        decoded.decode(root, tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be decoded into .*choose another folder by dset.metadata"):
        decoded.decode(root, tmp_path / "file")


@pytest.mark.runs
def test_a_training(root, tmp_path):
    """Trains on the decoded songs, validates on the one whose name says so, and tests on what musdb reads."""
    config = settings(root, *RATE, "epochs=1", "max_batches=1", "batch_size=2", "augment.remix.group_size=1")
    assert precheck.check(config, ranks=1, folder=tmp_path / "run") == root
    solver = solver_in(tmp_path / "run", config)
    track = solver.train.loader.dataset
    found = soundfile.read(decoded.folder_of(root, config.dset.metadata) / "train" / "A - One" / "drums.flac")[0].T
    example = track[0]
    example = (example[0] if isinstance(example, tuple) else example).numpy()
    drums = example[0]
    level = np.linalg.lstsq(np.stack([found[0, :drums.shape[1]], np.ones(drums.shape[1])], 1), drums[0], rcond=None)
    assert level[1][0] < 1e-6 * drums.shape[1], "the samples of the file, normalised"
    assert [song.name for song in solver.test.tracks] == NAMES["test"]
    assert building.count_tracks(solver.valid.loader.dataset.dataset) == 1
    assert precheck.check(config, ranks=1, folder=tmp_path / "run") == root
    solver.run()
    assert np.isfinite(solver.history[0].test["nsdr"])


def test_an_evaluation(root, tmp_path, monkeypatch):
    """Of a model that was trained there, and by --musdb."""
    monkeypatch.setenv("DEMUCS_MUSDB", str(root))
    for own in (None, schema.TestSet("dset.musdb", str(root)), schema.TestSet("dset.musdb", str(tmp_path / "gone"))):
        place = test_sets.place(own, root, "x")
        assert place.folder == root and place.compressed
    monkeypatch.chdir(tmp_path)
    place = Request("x", musdb=root).place("x")
    assert place.compressed
    songs = song_set(root, sources=SOURCES, compressed=True)
    assert songs.name == "MUSDB18 test" and [track.name for track in songs.tracks] == NAMES["test"]
    save(DatasetDownload(download.PREVIEW, "", "md5:0", 3, "now"), root / download.RECORD)
    assert song_set(root, sources=SOURCES, compressed=True).name == "7-second preview of MUSDB18 test"
