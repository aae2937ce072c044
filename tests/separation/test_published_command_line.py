"""The command line writes the files that published Demucs 4.1.0 writes: the same names, the same samples."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, require_program
from golden.cli_cases import BAGS, CASES, COMPRESSED, OTHER, RATE, SINGLE, TRANSFORMER, music, outputs, write_songs

from demucs import separate
from demucs.api import Separator

FOLDER = REPOSITORY / "tests" / "golden" / "cli"
STEP = 1 / 32767         # of 16 bits
LOSSY = 0.01             # between two mp3 files whose encoders were given samples one step apart


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "cli.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", CASES)
def test_same_files(name, golden, tmp_path, monkeypatch):
    files, options = CASES[name]
    if {"coded.m4a", "coded.ogg"} & set(files):
        require_program("ffmpeg")
    monkeypatch.chdir(tmp_path)
    write_songs(tmp_path)
    for song in COMPRESSED:
        shutil.copy(FOLDER / song, song)
    out = ["-o", "separated"] if "-o" not in options else []
    separate.main(["--repo", str(FOLDER), *([] if "-n" in options else ["-n", SINGLE]), "-d", "cpu", "--shifts", "0",
                   *out, *options, *files])
    expected = {key.partition(":")[2]: samples for key, samples in golden.items() if key.partition(":")[0] == name}
    found = outputs(tmp_path / ("else where" if "-o" in options else "separated"))
    assert sorted(found) == sorted(expected)
    for path, samples in expected.items():
        assert found[path].shape == samples.shape, path
        assert np.abs(samples[:-1]).max() > 0.05      # there is something to compare
        np.testing.assert_allclose(found[path], samples, rtol=0, atol=LOSSY if name == "mp3" else STEP + 1e-6)


def test_list_of_models(capsys):
    separate.main(["--repo", str(FOLDER), "--list-models"])
    names = "\n    "
    assert capsys.readouterr().out == (f"Bag of models:{names}{names.join(sorted(BAGS))}\n"
                                       f"Single models:{names}{names.join((SINGLE, OTHER, TRANSFORMER))}\n")


@pytest.mark.parametrize("name", [SINGLE, "pair"])
def test_same_callbacks(name):
    published = json.loads((FOLDER / "callbacks.json").read_text())[name]
    seen = []
    separator = Separator(name, FOLDER, "cpu", shifts=0, callback=seen.append, callback_arg={"of": name})
    separator.separate_tensor(torch.from_numpy(music(RATE, 0.9, 2).T.copy()).float())
    assert len(published) >= 6 and seen == published
