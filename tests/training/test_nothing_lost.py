"""Rare causes of lost work: damage that readers do not notice, moved folders, failing writers, ranks that read at
different times."""

import contextlib
import os
import shutil
import zipfile

import pytest
import torch
from training.small import DIFFQ, QAT, STEPS, numbers, settings, solver_in, stop_at, weights, write_track

from demucs import schema
from demucs.errors import PackageError, TrainingError
from demucs.packages import package
from demucs.runs.lock import LOCK, locked
from demucs.training import checkpoints
from demucs.training.checkpoints import NEWEST, PREVIOUS, Checkpoints
from demucs.training.distributed import Group
from demucs.training.interruption import Stopped
from demucs.training.restoring import start_from
from demucs.training.state import NewerFormatError, write_checkpoint

pytestmark = pytest.mark.runs


def stopped(folder, config, moment):
    """Run that is stopped at its check number `moment` for requests."""
    solver = solver_in(folder, config)
    stop_at(solver, moment)
    with pytest.raises(Stopped):
        solver.run()
    return solver


@pytest.mark.parametrize("kind", [DIFFQ, QAT], ids=["diffq", "qat"])
def test_rounded_weights_are_not_saved(kind, songs, tmp_path):
    """Weights are rounded while they are validated. A stop in between saves those that are trained."""
    config = settings(songs, *STEPS, *kind, "hdemucs.depth=2", "quant.min_size=0.0002", "epochs=1", "test.every=100")
    expected = solver_in(tmp_path / "straight", config)
    expected.run()
    for moment in range(1, 12):
        solver = solver_in(tmp_path / f"{moment}", config)
        stop_at(solver, moment)
        try:
            solver.run()
        except Stopped:
            solver = solver_in(tmp_path / f"{moment}", config)
            solver.run()
        assert torch.equal(weights(solver), weights(expected)) and numbers(solver) == numbers(expected), moment


def test_bytes_that_changed_on_disk_are_noticed(songs, tmp_path, caplog):
    """torch reads a tensor whatever its bytes are."""
    config = settings(songs, *STEPS)
    solver_in(tmp_path / "x", config).run()
    path = tmp_path / "x" / NEWEST
    with zipfile.ZipFile(path) as file:
        largest = max((info for info in file.infolist() if "/data/" in info.filename), key=lambda info: info.file_size)
    with open(path, "r+b") as file:
        file.seek(largest.header_offset + 200)
        file.write(bytes(100))
    torch.load(path, weights_only=True)
    assert len(solver_in(tmp_path / "x", config).history) == 1
    assert largest.filename in caplog.text and PREVIOUS in caplog.text
    shutil.copy(path, tmp_path / "x" / "checkpoint_1.th")
    (tmp_path / "x" / PREVIOUS).unlink()
    with pytest.raises(PackageError, match="another checksum.*kept .checkpoint_1.th., copy it to checkpoint.th"):
        solver_in(tmp_path / "x", config)


def test_a_checkpoint_of_a_newer_version_is_not_passed_over(tmp_path):
    for name, form in ((PREVIOUS, 1), (NEWEST, 99)):
        write_checkpoint({"state": {}, "history": [], "format": form}, tmp_path / name)
    with pytest.raises(NewerFormatError, match="format 99"):
        Checkpoints(tmp_path).read()


@pytest.mark.parametrize("what", ["moved", "deleted", "made anew"])
def test_a_run_whose_folder_is_gone_ends(what, songs, tmp_path):
    """Otherwise it would make the folder anew, without its lock, beside whoever trains there."""
    folder = tmp_path / "x"
    folder.mkdir()
    with locked(folder):
        solver = solver_in(folder, settings(songs, *STEPS))
        go_on = solver.saving.go_on

        def strike(**kwargs):
            if solver.position.step == 2 and folder.exists() and (folder / "status.json").exists():
                (folder.rename if what == "moved" else lambda _: shutil.rmtree(folder))(tmp_path / "elsewhere")
                if what == "made anew":
                    folder.mkdir()
                    (folder / LOCK).write_text("{}")
            go_on(**kwargs)
        solver.saving.go_on = strike
        with pytest.raises(TrainingError, match="moved, deleted or cleared"):
            solver.run()
    left = {path.name for path in folder.glob("*")} if folder.exists() else set()
    assert left <= {LOCK}


def test_other_songs_than_the_epoch_began_with(songs, tmp_path, caplog):
    config = settings(songs, *STEPS)
    stopped(tmp_path / "within", config, 2)
    solver_in(tmp_path / "between", settings(songs, *STEPS)).run()
    write_track(songs / "train" / "A further song", 30)
    later = settings(songs, *STEPS, "epochs=3")
    with pytest.raises(TrainingError, match=r"epoch 1 began with 15 training examples, now there are 20"):
        solver_in(tmp_path / "within", settings(songs, *STEPS))
    solver_in(tmp_path / "between", later)
    assert "had 15 training examples so far, from here on it has 20" in caplog.text


def test_a_write_that_failed_is_made_good(tmp_path, monkeypatch, caplog):
    write, answers = checkpoints.write_checkpoint, [MemoryError(), OSError(28, "No space left on device")]

    def sometimes(content, path):
        if answers:
            raise answers.pop()
        write(content, path)
    monkeypatch.setattr(checkpoints, "write_checkpoint", sometimes)
    files = Checkpoints(tmp_path)
    files.save({"state": {}, "history": [1]})
    with pytest.raises(TrainingError, match="MemoryError"):
        files.save({"state": {}, "history": [2]})          # neither of them
    assert "No space left on device" in caplog.text and not (tmp_path / NEWEST).exists()
    files.save({"state": {}, "history": [3]}, keep_as="checkpoint_3.th")
    files.wait()
    assert [checkpoints.read_checkpoint(tmp_path / name)["history"] for name in (NEWEST, "checkpoint_3.th")] == [[3]] * 2
    answers.append(OSError(28, "No space left on device"))
    files.save({"state": {}, "history": [4]})
    files.save({"state": {}, "history": [5]})              # there is room again
    assert checkpoints.read_checkpoint(tmp_path / NEWEST)["history"] == [5]
    files.save({"state": {}, "history": [6]})
    files.wait()
    assert checkpoints.read_checkpoint(tmp_path / "checkpoint_3.th")["history"] == [3]
    answers.append(OSError(28, "No space left on device"))
    files.save({"state": {}, "history": [7]}, keep_as="checkpoint_7.th")
    with pytest.raises(TrainingError, match="No space left"):      # or nobody would write that file any more
        files.save({"state": {}, "history": [8]})
    assert checkpoints.read_checkpoint(tmp_path / NEWEST)["history"] == [6]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    for name in (f".{NEWEST}.new.abc.tmp", ".best.th.xyz.tmp", f"{NEWEST}.new", f"{NEWEST}.second", "checkpoint_7.th"):
        (tmp_path / name).write_bytes(b"half")
    Checkpoints(tmp_path).read()
    assert len(list(tmp_path.iterdir())) == 5              # who has no lock removes nothing
    with locked(tmp_path):
        Checkpoints(tmp_path).read()
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, "checkpoint_7.th"}


def test_best_weights_on_disk_are_those_of_the_best_epoch(songs, tmp_path):
    """A process may end between writing them and its checkpoint, and the repeated epoch may end otherwise."""
    folder, config = tmp_path / "x", settings(songs, *STEPS)
    solver_in(folder, config).run()
    lost = solver_in(tmp_path / "lost", settings(songs, *STEPS, "seed=7"))
    lost.run()
    shutil.copy(tmp_path / "lost" / "best.th", folder / "best.th")
    again = solver_in(folder, config)
    model = package.load(folder / "best.th")
    assert (model.card.epochs_done, model.card.valid) == (again.best_epoch(), again.history[again.best_epoch() - 1].valid)
    assert all(torch.equal(value, again.best_state[key]) for key, value in model.state_dict().items())
    written = os.stat(folder / "best.th").st_mtime_ns
    solver_in(folder, config)
    assert os.stat(folder / "best.th").st_mtime_ns == written


def test_a_damaged_record_does_not_stop_a_run(songs, tmp_path, caplog):
    folder, config = tmp_path / "x", settings(songs, *STEPS)
    stopped(folder, config, 9)
    (folder / "run_card.json").write_text("{")
    solver_in(folder, config).run()
    assert "run_card.json.damaged" in caplog.text and (folder / "run_card.json.damaged").read_text() == "{"
    assert schema.load(schema.RunCard, folder / "run_card.json").epochs_done == 2


def test_a_session_is_on_record_from_its_beginning(songs, tmp_path):
    folder = tmp_path / "x"
    solver = solver_in(folder, settings(songs, *STEPS, "optim.lr=1e30"))
    with pytest.raises(TrainingError, match="not finite"):
        solver.run()
    card = schema.load(schema.RunCard, folder / "run_card.json")
    assert (card.epochs_done, len(card.sessions)) == (0, 1) and card.packages


class Ranks(Group):
    """Group of two ranks: this process, and a simulated one that contributes `answer`."""
    answer = None

    def gather(self, value):
        return [value, type(self).answer]


def test_ranks_that_begin_from_different_weights_say_so(songs, tmp_path):
    config = settings(songs, *STEPS)
    solver_in(tmp_path / "x", config).run()
    solver = solver_in(tmp_path / "y", config)
    solver.group = Ranks(0, 2, torch.device("cpu"))
    Ranks.answer = (1, 2, [], [])
    with pytest.raises(TrainingError, match="the processes read different checkpoints"):
        start_from(tmp_path / "x" / NEWEST, solver.model, solver.registry, solver.group, best=False,
                   optimizer=False)
    Ranks.answer = (2, 0, [], [])
    with contextlib.suppress(AttributeError):
        start_from(tmp_path / "x" / NEWEST, solver.model, solver.registry, solver.group, best=False,
                   optimizer=False)
    assert torch.equal(weights(solver), weights(solver_in(tmp_path / "x", config)))


