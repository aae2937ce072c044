"""Trainings on every kind of dataset and sampling: through the solver, with tests, stopped and continued bit for bit."""

import pytest
import torch
from data.songs import moises_song, noise, slakh_song, write
from training.small import settings, solver_in, trained_in_parts

from demucs.building import test_set as location
from demucs.evaluation.test_sets import place
from demucs.schema import TestSet

pytestmark = pytest.mark.runs

TWO = ("drums", "bass")
SHORT = ["epochs=2", "max_batches=2", "test.every=2", "dset.sources=[drums,bass]", "weights=[1.,1.]", "batch_size=2",
         "augment.remix.group_size=2", "checkpoint.steps=1"]


def moises(root, split, song):
    moises_song(root / split / song, {stem: [noise(len(song), 2.)] for stem in ("drums", "bass", "vocals")}, song=song)


def slakh(root, split, song):
    slakh_song(root / {"valid": "validation"}.get(split, split) / song, [("drums", noise(1, 2., 1)), (33, noise(2, 2., 1))])


def songs(root, split, song):
    for source in TWO:
        write(root / split / song / f"{source}.wav", noise(len(source), 2.))


def sparse(root, split, song):
    write(root / split / song / "drums.wav", noise(3, 2.))


OWN = """
from demucs.data.kinds.folders import folder_tracks

def tracks(settings, split):
    return folder_tracks(settings.root / split, settings.sources)
"""
KINDS = {"moises": moises, "slakh": slakh, "songs": songs, "songs_of_a_training:tracks": songs}


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "songs_of_a_training.py").write_text(OWN)

    def make(write_song):
        for split in ("train", "valid", "test"):
            for number in range(2 if split == "train" else 1):
                write_song(tmp_path / "db", split, f"{split} {number}")
        return tmp_path / "db"
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_on_each_kind(dataset, tmp_path, kind):
    root = dataset(KINDS[kind])
    solver = solver_in(tmp_path / "xp", settings(root, *SHORT, f"dset.kind={kind}"))
    solver.run()
    record = solver.history[-1]
    assert record.valid["loss"] > 0 and set(record.test) >= {"nsdr", "nsdr_drums", "nsdr_bass"}


@pytest.mark.parametrize("more", [["dset.sampling=balanced", "dset.samples_per_track=3"],
                                  ["dset.sampling=random_mix", "dset.samples_per_track=3"],
                                  ["dset.wav=WAV", "dset.shares={musdb: 0.3, wav: 0.7}", "dset.cache=int16"]])
def test_a_stopped_training_continues_bit_for_bit(dataset, tmp_path, more):
    root = dataset(songs)
    config = settings(root, *SHORT, "dset.kind=wav", *(text.replace("WAV", str(root)) for text in more))
    whole = solver_in(tmp_path / "whole", config)
    whole.run()
    got, expected = (solver.model.state_dict() for solver in (trained_in_parts(tmp_path / "parts", config), whole))
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_silent_stems_and_songs_without_them(dataset, tmp_path):
    root = dataset(songs)
    sparse(root, "train", "train without bass")
    sparse(root, "test", "test without bass")
    solver = solver_in(tmp_path / "xp", settings(root, *SHORT, "dset.kind=wav", "dset.missing=silence"))
    solver.run()
    assert len(solver.train.loader.dataset.index) == 3 and set(solver.history[-1].test) >= {"nsdr_drums", "nsdr_bass"}


def test_the_layout_of_the_test_songs_is_recorded(dataset, tmp_path):
    root = dataset(moises)
    config = settings(root, *SHORT, "dset.kind=moises")

    own = location(config)
    assert (own.key, own.kind, own.stems, own.layout) == ("dset.musdb", "moises", ["drums", "bass"], {})
    where = place(own, tmp_path / "elsewhere", "this model")
    assert (where.folder, where.kind) == (root, "moises")
    assert isinstance(own, TestSet) and hash(own)
