"""TensorBoard curves, read by TensorBoard: no point is missing or duplicated after any interruption."""

import math
from pathlib import Path

import pytest
from training.small import STEPS, settings, solver_in, stop_at, weights, write_songs

from demucs.errors import ConfigError
from demucs.train import main
from demucs.training import curves
from demucs.training.interruption import Stopped
from demucs.training.reports import Average

pytestmark = pytest.mark.runs

reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator",
                             reason="tensorboard is not installed (pip install -c constraints.txt tensorboard)")
ON = "misc.tensorboard=true"


def points(folder):
    """{tag: [(step, value)]} of the curves of a run."""
    found = reader.EventAccumulator(str(folder / curves.FOLDER), size_guidance={reader.SCALARS: 0})
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    config = settings(write_songs(folder / "songs"), *STEPS, ON)
    solver = solver_in(folder / "x", config)
    solver.curves.every = 1
    solver.run()
    return config, solver, folder / "x"


def without_times(found):
    return {tag: values for tag, values in found.items() if not tag.startswith("seconds/")}


def test_what_is_drawn(straight):
    _, solver, folder = straight
    found = points(folder)
    for key, get in (("train/loss", lambda r: r.train["loss"]), ("valid/nsdr", lambda r: r.valid["nsdr"]),
                     ("valid/best", lambda r: r.best),
                     ("nsdr_by_weights/ema_batch_0", lambda r: r.candidates["ema_batch_0"]["nsdr"])):
        assert [step for step, _ in found[key]] == [3, 6]
        for (_, value), record in zip(found[key], solver.history):
            assert value == pytest.approx(get(record), rel=1e-6)         # stored as float32
    assert [step for step, _ in found["test/nsdr"]] == [3, 6]
    # A point is the mean since the last one: here of single steps, the last of which is told by the mean of the epoch.
    assert [step for step, _ in found["step/loss"]] == [1, 2, 4, 5]
    first = found["step/loss"][0][1] + found["step/loss"][1][1]
    assert first < 3 * solver.history[0].train["loss"] and all(math.isfinite(v) for _, v in found["step/loss"])


def test_a_run_in_pieces_draws_the_same_curves(straight, tmp_path):
    """Stopped again and again, and killed: what was drawn after the last checkpoint is not there twice."""
    config, expected, folder = straight
    sessions = 0
    for moment in (2, 3, 3, 4, 3, 4, 5, 5, 6, 7, 30):
        solver = solver_in(tmp_path / "x", config)
        solver.curves.every = 1
        sessions += 1
        if moment % 2:       # killed: goes on, draws, and is gone without a checkpoint of it
            solver.saving.save = lambda **kwargs: None
        stop_at(solver, moment)
        try:
            solver.run()
        except Stopped:
            continue
        if len(solver.history) == 2 and moment % 2 == 0:
            break
    assert sessions > 3 and len(list((tmp_path / "x" / curves.FOLDER).glob("events.*"))) == sessions
    assert (weights(solver) == weights(expected)).all()
    assert without_times(points(tmp_path / "x")) == without_times(points(folder))


def test_turned_on_later_it_begins_with_what_there_was(straight, tmp_path):
    config, expected, folder = straight
    off = settings(Path(config.dset.musdb), *STEPS)
    solver = solver_in(tmp_path / "x", off)
    stop_at(solver, 11)      # in the second epoch
    with pytest.raises(Stopped):
        solver.run()
    assert len(solver.history) == 1 and not (tmp_path / "x" / curves.FOLDER).exists()
    solver_in(tmp_path / "x", config).run()
    assert points(tmp_path / "x")["train/loss"] == points(folder)["train/loss"]


def test_it_does_not_change_the_signature():
    assert main.get_xp([ON]).sig == main.get_xp([]).sig


def test_without_the_package(straight, tmp_path, monkeypatch):
    find = curves.importlib.util.find_spec
    monkeypatch.setattr(curves.importlib.util, "find_spec",
                        lambda name, *rest: None if name == "tensorboard" else find(name, *rest))
    with pytest.raises(ConfigError, match="misc.tensorboard=true needs the package tensorboard.*pip install"):
        solver_in(tmp_path / "x", straight[0])


def test_a_full_disk_costs_the_curves_only(tmp_path, caplog):
    drawn = curves.Curves(tmp_path, steps=3, wanted=True, every=1)
    drawn.begin(0, Average(), [])

    def full(*_):
        raise OSError(28, "No space left on device")
    drawn._writer.add_scalar = full
    average = Average()
    average.add({"loss": 1.}, 2)
    drawn.step(0, 1, average)
    assert "No space left" in caplog.text and caplog.text.count("cannot write curves") == 1
    drawn.step(0, 2, average)
    drawn.flush()
    drawn.close()
    assert caplog.text.count("cannot write curves") == 1


def test_a_point_after_a_stop_is_the_mean_since_the_one_before_it(tmp_path):
    """Not since the stop."""
    def draw(folder, stop):
        drawn, average = curves.Curves(folder, steps=9, wanted=True, every=4), Average()
        drawn.begin(0, average, [])
        for done in range(1, 9):
            if done == stop:
                state = drawn.state_dict()
                drawn.close()
                assert drawn.state_dict() == {}      # who draws nothing knows of no point
                drawn = curves.Curves(folder, steps=9, wanted=True, every=4)
                drawn.load_state_dict(state)
                drawn.begin(done - 1, average, [])
            average.add({"loss": float(done ** 2)}, 2)
            drawn.step(0, done, average)
        drawn.close()
        return points(folder)["step/loss"]
    expected = [(4, (1 + 4 + 9 + 16) / 4), (8, (25 + 36 + 49 + 64) / 4)]
    assert [draw(tmp_path / f"{stop}", stop) for stop in (0, 2, 3, 5, 6, 8)] == [expected] * 6
