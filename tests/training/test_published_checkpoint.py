"""A run continues from a checkpoint of published Demucs 4.1.0, written after two epochs of the same experiment."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from training.small import write_track

from demucs import schema
from demucs.building import build_solver
from demucs.config import read
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.errors import PackageError
from demucs.train import main
from demucs.training.distributed import Group
from demucs.training.state import StateRegistry, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.runs

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RUN = GOLDEN / "published" / "run"
ALONE = Group(0, 1, torch.device("cpu"))


@pytest.fixture
def arguments(tmp_path):
    songs = tmp_path / "songs"
    write_track(songs / "train" / "Song", 1, seconds=0.6, samplerate=44100)
    write_track(songs / "train" / VALIDATION_TRACKS[0], 2, seconds=0.5, samplerate=44100)
    write_track(songs / "test" / "Test song", 3, seconds=0.5, samplerate=44100)
    return [*json.loads((GOLDEN / "published_run.json").read_text()), f"dset.musdb={songs}",
            f"dset.metadata={tmp_path / 'cache'}"]


def solver_in(folder, arguments, *more):
    config = read(OmegaConf.to_container(main.get_xp([*arguments, *more]).cfg, resolve=True))
    folder.mkdir(parents=True, exist_ok=True)
    return build_solver(config, folder, ALONE, signature=folder.name)


def test_the_layout():
    package = read_checkpoint(RUN / "checkpoint.th")
    assert set(package) == {"state", "optimizer", "history", "best_state", "ema_batch_0", "ema_epoch_0", "args",
                            "notes"}
    settings = package["args"]
    assert settings["model"] == "hdemucs" and settings["hdemucs"]["channels"] == 4
    assert settings["dset"]["sources"] == ["drums", "vocals"] and settings["optim"]["lr"] == 3e-4
    assert all(type(value) in (dict, list, str, int, float, bool, type(None)) for value in settings.values())
    written = json.loads((RUN / "history.json").read_text())
    assert package["history"] == written and type(written[1]["test"]["sdr_drums"]) is float
    assert [schema.EpochRecord.from_history(entry).to_history() for entry in package["history"]] == written


def test_what_is_lacking_is_said():
    notes = read_checkpoint(RUN / "checkpoint.th")["notes"]
    assert len(notes) == 2 and "after epoch 2" in notes[0] and "random" in notes[0] and "run card" in notes[1]


def test_other_settings_are_said(arguments, tmp_path, caplog):
    folder = tmp_path / "xps" / "abc"
    folder.mkdir(parents=True)
    shutil.copy(RUN / "checkpoint.th", folder)
    with caplog.at_level("WARNING"):
        solver_in(folder, arguments, "epochs=3", "optim.lr=1e-4")
    said = [record.getMessage() for record in caplog.records if "checkpoint.th" in record.getMessage()]
    assert any("random generators" in line for line in said)
    assert any("trained with optim.lr=0.0003, this run has 0.0001" in line for line in said)
    assert not any("musdb" in line or "misc" in line for line in said)


def test_a_run_goes_on(arguments, tmp_path):
    folder = tmp_path / "xps" / "abc"
    folder.mkdir(parents=True)
    shutil.copy(RUN / "checkpoint.th", folder)
    theirs = read_checkpoint(folder / "checkpoint.th")
    solver = solver_in(folder, arguments, "epochs=3")
    assert [record.to_history() for record in solver.history] == theirs["history"]
    ours = solver.registry.collect()
    for part in ("state", "best_state"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])
    for average in ("ema_batch_0", "ema_epoch_0"):
        assert ours[average]["count"] == theirs[average]["count"] > 1
        assert all(torch.equal(ours[average]["state"][name], value) for name, value in theirs[average]["state"].items())
    assert len(theirs["optimizer"]["state"]) == len(list(solver.model.parameters()))
    for index, moments in theirs["optimizer"]["state"].items():
        assert moments["step"] == 4
        for key, value in moments.items():
            assert torch.equal(ours["optimizer"]["state"][index][key], value)
    solver.run()
    assert [record.to_history() for record in schema.load_history(folder / "history.json")][:2] == theirs["history"]
    assert len(solver.history) == 3
    again = read_checkpoint(folder / "checkpoint.th")      # ours now
    assert again["notes"] == [] and len(again["history"]) == 3 and "random_states" in again


def test_starting_from_one(arguments, tmp_path):
    parent = tmp_path / "xps" / "parent"
    parent.mkdir(parents=True)
    shutil.copy(RUN / "checkpoint.th", parent)
    theirs = read_checkpoint(parent / "checkpoint.th")
    for name, more, part in (("best", [], "best_state"), ("last", ["continue_best=False"], "state")):
        solver = solver_in(parent.parent / name, arguments, "continue_from=parent", *more)
        assert all(torch.equal(value, theirs[part][key]) for key, value in solver.model.state_dict().items())


def crafted(path, **changes):
    """A checkpoint in the layout of Demucs."""
    plain = {"state": {}, "optimizer": {}, "history": [], "best_state": None, "args": {"model": "hdemucs"}}
    torch.save({**plain, **changes}, path)
    return path


@pytest.mark.parametrize("changes,message", [
    ({"args": [1]}, "configuration or its history is none"), ({"history": {}}, "configuration or its history is none"),
    ({"args": {"a": torch.ones(1)}}, "hold a Tensor"),
    ({"args": {"a": StateRegistry}}, "refused: it names demucs.training.state.StateRegistry"),
])
def test_malformed_checkpoints(changes, message, tmp_path):
    path = tmp_path / "checkpoint.th"
    with pytest.raises(PackageError, match=message) as caught:
        read_checkpoint(crafted(path, **changes))
    assert str(path) in str(caught.value)


def test_quantisation_is_mentioned(tmp_path):
    quantised = crafted(tmp_path / "checkpoint.th", args={"quant": {"diffq": 1e-4, "qat": None}})
    assert "quantisation" in read_checkpoint(quantised)["notes"][-1]
    assert len(read_checkpoint(crafted(quantised, args={"quant": {"diffq": None, "qat": None}}))["notes"]) == 2


def test_ours_have_no_notes(tmp_path):
    registry = StateRegistry()
    registry.add("history", lambda: [1], lambda _: None)
    write_checkpoint({**registry.collect(), "random_states": []}, tmp_path / "checkpoint.th")
    assert read_checkpoint(tmp_path / "checkpoint.th") == {"history": [1], "random_states": [], "notes": []}
