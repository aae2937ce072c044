"""The page about the datasets of Open-Unmix: its commands fit the layouts as described, its tables name all kinds and keys."""

import dataclasses
import re
import shlex

import pytest
from data.openunmix_songs import make
from data.songs import noise, write

from demucs.data.kinds.file_names import NEEDED, FileNames
from demucs.schema import MISSING
from demucs.signature import signature

TINY = ["hdemucs.channels=4", "dset.segment=1", "dset.shift=0.5", "dset.samplerate=8000", "batch_size=1", "augment.remix.group_size=1",
        "augment.repitch.proba=0"]


@pytest.fixture
def page(repository):
    found = repository / "docs" / "openunmix_datasets.md"
    return found.read_text()


def test_commands_of_the_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("aligned", tmp_path / "pairs", count=1)
    for split in ("train", "valid"):
        for source in ("vocals", "car_noise", "wind_noise"):
            write(tmp_path / "sounds" / split / source / "a.ogg", noise(len(source)))
        for source in ("vocals", "bass", "drums", "other"):
            write(tmp_path / "tracks" / split / "a" / f"{source}.flac", noise(len(source)))
        write(tmp_path / "stems" / split / "a" / "vocals.flac", noise(1))
        write(tmp_path / "stems" / split / "a" / "accordion.wav", noise(2))
        write(tmp_path / "stems" / split / "without vocals" / "accordion.wav", noise(2))
    commands = [shlex.split(line) for line in re.findall(r"^    (dora run .*)$", page, re.M)]
    assert {word.partition("=")[2] for words in commands for word in words if word.startswith("dset.kind=")} == set(NEEDED)
    for words in commands:
        words = [word.replace("/datasets/", f"{tmp_path}/") for word in words[2:] if word != "-d"]
        folder = signature([*words, *TINY], ranks=1).splitlines()[1]
        assert f"dset.musdb={folder}" in words


def test_tables_are_complete(page):
    assert {kind for kind in NEEDED if f"| `{kind}` | `{kind}` |" in page} == set(NEEDED)
    for field in dataclasses.fields(FileNames):
        assert f"`dset.files.{field.name}`" in page
    for value in MISSING[1:]:
        assert f"dset.missing={value}" in page
    for key in ("dset.train_samples", "dset.valid_draws", "dset.samples_per_track", "dset.sampling=interferer_mix"):
        assert f"{key}" in page
