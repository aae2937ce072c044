"""Argument lists have the Dora signatures of published Demucs."""

import json
import os
import re
from pathlib import Path

import preloaded
import pytest
import torch
from compositions import resolved, xp
from dora import hydra

from demucs import experiment
from demucs.building import build_model
from demucs.config import read
from demucs.errors import ConfigError
from demucs.grids import _published as published
from demucs.models import zoo
from demucs.schema import RunStatus, save
from demucs.train import main

TABLE = json.loads((Path(__file__).resolve().parent / "golden" / "signatures.json").read_text())
ALL = [(signature, argv) for group in TABLE.values() for signature, argv in group.items()]
GRIDS = {name: group for name, group in TABLE.items() if name.startswith("grid_")}
SECTIONS = ("model", *zoo.NAMES)
TRAIN_SCRIPT = ["epochs=180", "test.every=100", *TABLE["retrained_hdemucs_runs"]["759c9a58"][2:]]


@pytest.mark.parametrize("signature, argv", ALL, ids=[signature for signature, _ in ALL])
def test_published_signature(signature, argv):
    assert xp(argv).sig == signature


def test_table_is_complete(reference):
    """The reference's groups as they stand there, and what tests/golden/make_signatures.py added to them."""
    given = json.loads((reference / "signatures.json").read_text())
    assert sum(map(len, given.values())) == 58
    assert {name: TABLE[name] for name in given} == given
    assert {name: len(group) for name, group in TABLE.items() if name not in given} == {
        "grid_mdx_refine": 12, "grid_mdx_extra": 16, "grid_mmi_ft": 18, "grid_repro": 12, "grid_repro_ft": 12,
        "grid_sdx23": 2, "documented": 6}


def test_the_shipped_table_holds_all_published_experiments():
    shipped = published.experiments()
    for signature, argv in TABLE["published_experiments"].items():
        assert shipped[signature] == argv
    assert set(shipped) == set(TABLE["published_experiments"]).union(*GRIDS.values())
    for group in GRIDS.values():
        for signature, argv in group.items():
            assert shipped[signature] == argv or signature in TABLE["published_experiments"]


def test_a_fresh_clone_knows_published_experiments(tmp_path, monkeypatch):
    monkeypatch.setattr(main.dora, "dir", tmp_path)
    assert main.get_argv_from_sig("955717e8") == TABLE["grid_mmi"]["955717e8"]
    assert main.get_xp([*main.get_argv_from_sig("81de367c"), "hdemucs.channels=32"]).sig == "2db45dc4"
    assert not list(tmp_path.iterdir())
    # What the folder says about a signature wins.
    own = tmp_path / "xps" / "955717e8" / ".argv.json"
    own.parent.mkdir(parents=True)
    own.write_text('["epochs=3"]')
    assert main.get_argv_from_sig("955717e8") == ["epochs=3"]
    own.write_text('["epochs')
    with pytest.raises(SystemExit, match="955717e8.*damaged"):
        main.get_argv_from_sig("955717e8")


def test_published_experiments_build_their_models():
    """But for those whose sparsity patterns need kernels that were not released, in shape, without memory."""
    models = {}
    for signature, argv in published.experiments().items():
        models[frozenset(item for item in argv if item.replace("=", ".").split(".")[0] in SECTIONS)] = signature
    refused, built = set(), set()
    for signature in models.values():
        config = read(resolved(published.experiments()[signature]))
        try:
            with torch.device("meta"):
                built.add(build_model(config).zoo_name)
        except ConfigError as error:
            assert "t_auto_sparsity" in str(error)
            refused.add(signature)
    assert built == {"demucs", "hdemucs", "htdemucs"}
    assert len(refused) == 2 and refused < {"2899e11a", *TABLE["grid_mmi_ft"]}


def test_signature_of_the_train_script():
    assert xp(TRAIN_SCRIPT).sig == "162f67a7"


@pytest.mark.runs
def test_dataset_path_is_not_part_of_the_signature():
    """The path comes from the environment; on the command line it would be another experiment."""
    code = "from demucs.train import main; import sys; print(main.get_xp(sys.argv[1:]).sig)"
    environment = {**os.environ, "DEMUCS_MUSDB": "/somewhere/else"}
    out = preloaded.run("-c", code, *TRAIN_SCRIPT, env=environment)
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


INVENTED = {"0badcafe", "77c0ffee", "9a3f00d1", "9a3f00d2", "ffffff66"}       # in tables of what a command prints
NO_ARGUMENTS = {"5c90dfd2", "83fc094f", "464b36d7", "14fc6a69", "7fd6ef75"}   # published without an argument list
# Trainings of the notes on variants, which have no arguments either, and the short one of the demo.
NO_ARGUMENTS |= {"42eb2890", "48f6aa15", "cad3ef69", "f8eba76b"}


def test_every_documented_signature_is_known(repository, tmp_path, monkeypatch):
    """A word of eight hexadecimal digits in the documents is a signature, a commit, or one of those above."""
    monkeypatch.setattr(main.dora, "dir", tmp_path)
    pages = [repository / "README.md", *sorted((repository / "docs").glob("*.md"))]
    found = {word for page in pages for word in re.findall(r"(?<!commit )\b(?=[0-9a-f]*[0-9])[0-9a-f]{8}\b", page.read_text())}
    for signature in sorted(found - INVENTED - NO_ARGUMENTS):
        if not signature.isdigit():
            assert main.find_argv(signature) is not None, signature
    assert {"162f67a7", "c4c9d5a8", "4c3a4313"} <= found and not list(tmp_path.iterdir())


def test_documented_arguments_have_their_signatures():
    for signature, argv in published.documented().items():
        assert xp(argv).sig == signature
    assert published.documented()["162f67a7"] == TRAIN_SCRIPT and not set(published.documented()) & set(published.experiments())


@pytest.mark.runs
def test_how_far_a_run_is(tmp_path, repository, monkeypatch):
    assert experiment.progress(tmp_path / "162f67a7") == "not begun here"
    monkeypatch.chdir(repository)
    assert experiment.progress(tmp_path / "4c3a4313") == ("not begun here; demucs_results/runs/4c3a4313 has records of it: "
                                                        "done, 24 of 24 epochs, best validation nSDR 4.646 dB")
    folder = tmp_path / "11111111"
    save(RunStatus(signature="11111111", epoch=3, step=5, steps=10, epochs=8, best_nsdr=1.5, seconds_per_step=None,
                   world_size=1, device="", host="h", process=1, job=None, restarts=0, started="2026-01-01T00:00:00+00:00",
                   updated="2026-01-01T00:00:00+00:00", state="stopped", reason="SIGTERM"), folder / "status.json")
    assert experiment.progress(folder) == "stopped (SIGTERM), 2.5 of 8 epochs, best validation nSDR 1.500 dB"


@pytest.mark.runs
@pytest.mark.parametrize("signature", ["162f67a7", "4c3a4313"])
def test_dora_info_in_a_fresh_clone(signature, tmp_path, repository):
    done = preloaded.run("-m", "dora", "-P", "demucs", "info", "-f", signature, cwd=repository,
                         env={**os.environ, "_DORA_TEST_PATH": str(tmp_path), "OMP_NUM_THREADS": "1"})
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "Progress:" in told and "not begun here" in told, told


def test_an_experiment_is_composed_once(monkeypatch):
    """Dora requests it several times; each request gets a configuration of its own."""
    composed = []
    compose = hydra.compose
    monkeypatch.setattr(hydra, "compose", lambda name, overrides: composed.append(overrides) or compose(name, overrides))
    argv = ["epochs=17", "seed=9"]
    first, second = main.get_xp(argv), main.get_xp(argv)
    assert composed == [argv] and first.sig == second.sig
    first.cfg.epochs = 3
    assert second.cfg.epochs == main.get_xp(argv).cfg.epochs == 17


def test_unknown_signature_names_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(main.dora, "dir", tmp_path)
    main.init_xp(main.get_xp(["epochs=3"]))
    known = main.get_xp(["epochs=3"]).sig
    assert main.get_argv_from_sig(known) == ["epochs=3"]
    with pytest.raises(SystemExit, match=known):
        main.get_argv_from_sig(known[:-1] + "x")
    with pytest.raises(SystemExit, match="Did you mean '955717e8'"):
        main.get_argv_from_sig("955717e9")


def test_a_value_that_cannot_be_read_changes_no_later_signature():
    before = main.get_xp(["epochs=5"]).sig
    with pytest.raises(SystemExit):
        main.get_xp(["dset.wav=${x}"])
    assert main.get_xp(["epochs=5"]).sig == before


@pytest.mark.parametrize("argument, words", [
    ("optim=3", "optim is a section: set one of its values, such as optim."), ("hdemucs=null", "hdemucs is a section"),
    ("dset=3", "the name of a file in conf/"), ("dset=null", "the name of a file in conf/"),
    ("weights={a:1}", "another kind of value"),
])
def test_sections_and_groups_are_no_values(argument, words):
    with pytest.raises(SystemExit) as caught:
        main.get_xp([argument])
    message, = str(caught.value).splitlines()
    assert message.startswith("error: ") and argument.partition("=")[0] in message and words in message
