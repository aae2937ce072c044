"""Runs of an older version of this code, unfinished, finished, exported and scored: see golden/make_old_run.py.

The golden files are from one type of processor. On another one the order of sums differs, and training accumulates the
differences; tolerances allow for that, and are small compared with the change of one step.
"""

import json
import shutil

import numpy as np
import preloaded
import pytest
import torch
from conftest import REPOSITORY
from golden.make_old_run import ARGUMENTS, SONG, TARGET, environment
from training.small import write_songs

from demucs.pretrained import get_model

pytestmark = pytest.mark.runs

SIGNATURE = (TARGET / "signature.txt").read_text().strip()
TRAINED = 2e-3      # of losses, and of dB, after training went on
SCORED = 1e-2       # dB, of scores down to -48
COMPUTED = 1e-5     # of samples around 0.1


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder where the run was stopped within an epoch."""
    root = tmp_path_factory.mktemp("old run")
    write_songs(root / "songs")
    shutil.copytree(TARGET / "begun", root / "outputs" / "xps" / SIGNATURE)
    return root


def call(root, *command):
    done = preloaded.run(*command, cwd=root, env=environment(root))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(history):
    """The losses and scores of a history by epoch, place and name, without times."""
    return {(epoch, place, name): value for epoch, entry in enumerate(history) for place, metrics in entry.items()
            if place != "seconds" for name, value in metrics.items() if isinstance(value, float)}


@pytest.fixture(scope="module")
def continued(root):
    """Its folder after the same arguments have trained it to its end."""
    call(root, "-m", "dora", "-P", "demucs", "run", *ARGUMENTS)
    folder, = (root / "outputs" / "xps").iterdir()
    assert folder.name == SIGNATURE
    return folder


def test_it_goes_on_within_the_epoch(continued):
    found = numbers(json.loads((continued / "history.json").read_text()))
    expected = numbers(json.loads((TARGET / "ended" / "history.json").read_text()))
    assert found.keys() == expected.keys() and len(expected) > 40
    assert found == pytest.approx(expected, abs=TRAINED)
    sessions = [json.loads(line) for line in (continued / "ledger.jsonl").read_text().splitlines()]
    assert [session["event"] for session in sessions] == ["start", "end", "start", "end"]
    assert sessions[2]["first_epoch"] == 1 and sessions[2]["first_step"] == 1, "it began at the first step"


def test_it_is_exported(root, continued):
    call(root, "-m", "tools.export", SIGNATURE)
    data = np.load(TARGET / "estimates.npz")
    model = get_model(SIGNATURE, repo=root / "release_models").eval()
    with torch.no_grad():
        estimates = model(torch.from_numpy(data["mixture"])).numpy()
    assert np.abs(estimates - data["estimates"]).max() < TRAINED
    card, old = (json.loads((folder / "release_models" / f"{SIGNATURE}.json").read_text()) for folder in (root, TARGET))
    assert {key: card[key] for key in ("signature", "model", "sources", "samplerate", "argv")} == \
        {key: old[key] for key in ("signature", "model", "sources", "samplerate", "argv")}


def test_its_package_computes_the_same():
    data = np.load(TARGET / "estimates.npz")
    model = get_model(SIGNATURE, repo=TARGET / "release_models").eval()
    with torch.no_grad():
        estimates = model(torch.from_numpy(data["mixture"])).numpy()
    assert np.abs(data["estimates"]).max() > 1e-3
    assert np.abs(estimates - data["estimates"]).max() < COMPUTED


def test_it_is_scored_as_before(root):
    """The old package on the songs of its own data, which its card names."""
    call(root, "-m", "tools.test_pretrained", "-n", SIGNATURE, "--repo", TARGET / "release_models", "--results",
         root / "scores", "--experiments", root / "outputs" / "xps")
    path = f"runs/{SIGNATURE}/evaluation.json"
    found, = json.loads((root / "scores" / path).read_text())["tracks"]
    expected, = json.loads((TARGET / "demucs_results" / path).read_text())["tracks"]
    assert found["name"] == expected["name"] == SONG
    assert found["scores"].keys() == expected["scores"].keys() and len(expected["scores"]) == 8
    for source, scores in expected["scores"].items():
        assert found["scores"][source] == pytest.approx(scores, abs=SCORED), source


def test_it_is_reported(root):
    shutil.copytree(TARGET / "demucs_results", root / "old_results")
    call(root, REPOSITORY / "graphing_scripts" / "report.py", SIGNATURE, "--results", root / "old_results")
    text = (root / "old_results" / "figures" / SIGNATURE / "report.html").read_text()
    assert SIGNATURE in text and SONG in text


def test_it_is_in_the_table_of_runs(root):
    shutil.copytree(TARGET / "ended", root / "old" / "xps" / SIGNATURE)
    row, = json.loads(call(root, "-m", "tools.runs", "--json", "--outputs", root / "old"))
    assert row["signature"] == SIGNATURE and row["state"] == "done"
