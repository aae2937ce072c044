"""Signatures of experiments before they run."""

import json
import sys

import preloaded
import pytest

from demucs import signature

pytestmark = pytest.mark.runs


def experiment(root, name, argv):
    folder = root / "outputs" / "xps" / name
    folder.mkdir(parents=True)
    (folder / ".argv.json").write_text(json.dumps(argv))


def ask(*arguments):
    return preloaded.run("-m", "tools.signature", *arguments, timeout=120)


def test_it_is_that_of_the_settings_as_they_are_now(tmp_path, monkeypatch):
    """Not of an experiment that had the same overrides of another configuration."""
    experiment(tmp_path, "deadbeef", ["epochs=7", "seed=3"])
    monkeypatch.chdir(tmp_path)
    found = signature.signature(["epochs=7", "seed=3"])
    assert signature.signature(["epochs=7", "seed=3"], again=True) == "deadbeef"     # of a job that was put back
    assert signature.signature(["epochs=7", "seed=4"], again=True) not in ("deadbeef", found)
    assert found != "deadbeef" and found == signature.signature(["epochs=7", "seed=3", "misc.num_workers=3"])


def test_without_the_packages_what_is_known_counts_if_it_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    experiment(tmp_path, "deadbeef", ["epochs=7", "seed=3"])
    experiment(tmp_path, "a copy", ["epochs=7", "seed=3"])
    assert signature.signature(["seed=2", "epochs=7", "seed=3"]) == "deadbeef"
    with pytest.raises(ImportError):
        signature.signature(["epochs=8"])
    experiment(tmp_path, "deadbee2", ["epochs=7", "seed=3"])
    with pytest.raises(ImportError):
        signature.signature(["epochs=7", "seed=3"])


@pytest.mark.parametrize("override, words", [
    ("optim.lr=abc", "optim.lr"), ("model=nosuch", "nosuch"), ("batch_size=0", "batch_size"), ("optim.los=l1", "los")])
def test_what_cannot_be_is_refused(override, words):
    done = ask("epochs=3", override)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
