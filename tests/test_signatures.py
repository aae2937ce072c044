"""Argument lists give the Dora signatures that published Demucs gives them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demucs.train import main

TABLE = json.loads((Path(__file__).resolve().parent / "golden" / "signatures.json").read_text())
ALL = [(signature, argv) for group in TABLE.values() for signature, argv in group.items()]
TRAIN_SCRIPT = ["epochs=180", "test.every=100", *TABLE["retrained_hdemucs_runs"]["759c9a58"][2:]]


@pytest.mark.parametrize("signature, argv", ALL, ids=[signature for signature, _ in ALL])
def test_published_signature(signature, argv):
    assert main.get_xp(argv).sig == signature


def test_table_is_complete(reference):
    assert json.loads((reference / "signatures.json").read_text()) == TABLE
    assert len(ALL) == 58


def test_signature_of_the_train_script():
    assert main.get_xp(TRAIN_SCRIPT).sig == "162f67a7"


def test_dataset_path_is_not_part_of_the_signature():
    """The path comes from the environment; on the command line it would be another experiment."""
    code = "from demucs.train import main; import sys; print(main.get_xp(sys.argv[1:]).sig)"
    environment = {**os.environ, "DEMUCS_MUSDB": "/somewhere/else"}
    out = subprocess.run([sys.executable, "-c", code, *TRAIN_SCRIPT], env=environment, check=True, text=True,
                         capture_output=True, cwd=Path(__file__).resolve().parent.parent)
    assert out.stdout.strip() == "162f67a7"
    assert main.get_xp([*TRAIN_SCRIPT, "dset.musdb=/somewhere/else"]).sig != "162f67a7"


@pytest.mark.parametrize("argument, hint", [
    ("epoch=3", "'epochs'"), ("hdemucs.chanels=8", "'hdemucs.channels'"), ("group_sise=3", "group_size'"),
    ("optim.learning_rate=1", "optim"), ("epochs", "key=value"), ("dset=musdb45", "musdb45"), ("epochs=[1", "[1"),
])
def test_wrong_arguments_give_one_line(argument, hint):
    with pytest.raises(SystemExit) as caught:
        main.get_xp([argument])
    message = str(caught.value)
    assert message.startswith("error: ") and hint in message and "\n" not in message


def test_unknown_signature_names_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(main.dora, "dir", tmp_path)
    main.init_xp(main.get_xp(["epochs=3"]))
    known = main.get_xp(["epochs=3"]).sig
    assert main.get_argv_from_sig(known) == ["epochs=3"]
    with pytest.raises(SystemExit, match=known):
        main.get_argv_from_sig(known[:-1] + "x")
