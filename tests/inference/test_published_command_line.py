"""The command line writes the files that published Demucs 4.1.0 writes: the same names, the same samples."""

import shutil

import numpy as np
import pytest
from conftest import REPOSITORY, require_program
from golden.cli_cases import BAG, CASES, COMPRESSED, OTHER, SINGLE, outputs, write_songs

from demucs import separate

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
    assert capsys.readouterr().out == f"Bag of models:\n    {BAG}\nSingle models:\n    {SINGLE}\n    {OTHER}\n"
