"""Progress records of checkpoints: correct whichever files a failed node has left, and for runs of older versions."""

import dataclasses
import os
import pickle
import shutil

import pytest
import torch
from conftest import REPOSITORY

from demucs import schema
from demucs.runs import progress as progress_module
from demucs.runs.progress import identity, note, progress, progress_of, records
from demucs.training.checkpoints import Checkpoints

OLD_RUN = REPOSITORY / "tests" / "golden" / "old_run"


def package(epochs, step, **place):
    return {"state": {"a": torch.full((3,), epochs + step / 10)}, "history": [{}] * epochs,
            "position": {"step": step, **place}}


def save(folder, epochs, step, **options):
    files = Checkpoints(folder)
    files.save(package(epochs, step), **options)
    files.wait()


def test_training_notes_each_checkpoint(tmp_path):
    files = Checkpoints(tmp_path)
    places = [(0, 3, {}), (0, 9, {"candidates": {"main": {}}}),
              (0, 9, {"candidates": {"main": {}}, "tested": {"a": 1, "b": 2}}), (1, 0, {})]
    for (epochs, step, place), expected in zip(places, ((0, 3, 0, 0), (0, 9, 1, 0), (0, 9, 1, 2), (1, 0, 0, 0))):
        files.save(package(epochs, step, **place))
        files.wait()
        assert progress(tmp_path) == expected
    assert progress_of(tmp_path, "checkpoint_previous.th") == (0, 9, 1, 2)
    assert len(records(tmp_path)) == 3          # until the first of them has taken its name, the third is there, too


@pytest.mark.parametrize("replaced, expected", [(False, (1, 0)), (True, (1, 4))])
def test_a_node_that_dies_between_the_two_writes(tmp_path, monkeypatch, replaced, expected):
    save(tmp_path, 0, 5)
    save(tmp_path, 1, 0)
    replace = os.replace

    def dies(source, target):
        if str(target).endswith("/checkpoint.th"):
            if replaced:
                replace(source, target)
            raise OSError(5, "no power")
        replace(source, target)
    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(Exception, match="no power"):
        save(tmp_path, 1, 4)
    monkeypatch.undo()
    assert progress(tmp_path)[:2] == expected
    save(tmp_path, 1, 6)
    assert progress(tmp_path)[:2] == (1, 6) and progress_of(tmp_path, "checkpoint_previous.th")[:2] == expected


def test_records_that_could_not_be_written(tmp_path, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")
    save(tmp_path, 0, 5)
    monkeypatch.setattr(progress_module, "save", full)
    save(tmp_path, 2, 1)
    assert "cannot record the progress" in caplog.text
    assert torch.load(tmp_path / "checkpoint.th", weights_only=True)["position"] == {"step": 1}
    assert progress(tmp_path) == (0, 0, 0, 0)           # nothing is known of it, and no history is there
    assert progress_of(tmp_path, "checkpoint_previous.th") == (0, 5, 0, 0)


def test_a_checkpoint_that_was_kept_and_is_put_back(tmp_path):
    save(tmp_path, 1, 0, keep_as="checkpoint_1.th")
    for epochs in (2, 3, 4):
        save(tmp_path, epochs, 2)
    shutil.copyfile(tmp_path / "checkpoint_1.th", tmp_path / "checkpoint.th")
    assert progress(tmp_path) == (1, 0, 0, 0)
    save(tmp_path, 1, 1)
    assert progress_of(tmp_path, "checkpoint_1.th") == (1, 0, 0, 0)


def test_a_copy_of_a_run_is_known(tmp_path):
    (tmp_path / "run").mkdir()
    save(tmp_path / "run", 1, 4)
    shutil.copytree(tmp_path / "run", tmp_path / "copy", copy_function=shutil.copyfile)
    assert progress(tmp_path / "copy") == (1, 4, 0, 0)


def test_a_damaged_middle_is_seen_as_training_sees_it(tmp_path):
    save(tmp_path, 0, 5)
    save(tmp_path, 0, 6)
    content = bytearray((tmp_path / "checkpoint.th").read_bytes())
    place = content.index(b"position")
    content[place:place + 8] = bytes(8)
    (tmp_path / "checkpoint.th").write_bytes(content)
    assert identity(tmp_path / "checkpoint.th") is None and progress(tmp_path) == (0, 5, 0, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 99, "checkpoints": []}',
                                     '{"version": 1, "checkpoints": [{"identity": 3}]}'])
def test_damaged_records_are_none_and_are_written_anew(tmp_path, content):
    save(tmp_path, 1, 4)
    (tmp_path / "checkpoint.json").write_text(content)
    assert progress(tmp_path) == (0, 0, 0, 0)
    save(tmp_path, 1, 5)
    assert progress(tmp_path) == (1, 5, 0, 0)


def test_a_run_of_an_older_version(tmp_path):
    shutil.copytree(OLD_RUN / "begun", tmp_path, dirs_exist_ok=True)
    done = len(schema.load_history(tmp_path / "history.json"))
    stopped = torch.load(tmp_path / "checkpoint.th", weights_only=True)
    assert progress(tmp_path) == (done, stopped["position"]["step"], 0, 0) and len(stopped["history"]) == done
    # In the middle of an epoch: where it was stopped, it was saved; where it was killed, the epochs count.
    status = schema.load(schema.RunStatus, tmp_path / "status.json")
    for state, expected in (("stopped", 7), ("running", 0)):
        schema.save(dataclasses.replace(status, state=state, epoch=done + 1, step=7), tmp_path / "status.json")
        assert progress(tmp_path) == (done, expected, 0, 0)
    (tmp_path / "fresh").write_bytes((tmp_path / "checkpoint.th").read_bytes())
    note(tmp_path, (done, 8, 0, 0), tmp_path / "fresh")
    assert progress(tmp_path) == (done, 8, 0, 0)
    (tmp_path / "checkpoint.th").unlink()
    assert progress(tmp_path) is None


def test_nothing_of_a_checkpoint_is_unpickled(tmp_path, monkeypatch):
    save(tmp_path, 1, 4)

    def refused(*args, **kwargs):
        raise AssertionError
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refused)
    assert progress(tmp_path) == (1, 4, 0, 0)
