"""Finished runs: started again they stay finished, with and without their songs, and their curves can be drawn."""

import os
import shutil

import preloaded
import pytest
from training.small import TINY, settings, solver_in

from demucs import building, precheck, schema
from demucs.errors import DemucsError
from demucs.evaluation import test_sets
from demucs.runs.layout import HISTORY, NEWEST, RUN_CARD
from demucs.runs.status import last_said
from demucs.training.best import Selection, enough

pytestmark = pytest.mark.runs

SHORT = ("epochs=2", "max_batches=1", "test.every=9")


@pytest.fixture
def done(songs, tmp_path):
    config = settings(songs, *SHORT)
    solver_in(tmp_path / "xps" / "done", config).run()
    return config, tmp_path / "xps" / "done"


def test_what_counts_as_done(done, songs):
    config, folder = done
    assert len(building.finished(config, folder)) == 2
    assert building.finished(settings(songs, *SHORT, "epochs=3"), folder) is None
    (folder / HISTORY).rename(folder / "elsewhere")
    assert building.finished(config, folder) is None
    (folder / "elsewhere").rename(folder / HISTORY)
    (folder / NEWEST).write_bytes((folder / NEWEST).read_bytes()[:100])
    for path in folder.glob("checkpoint_previous.th"):
        path.unlink()
    assert building.finished(config, folder) is None


def test_early_stopping_makes_a_run_done():
    def records(*losses):
        return [schema.EpochRecord(train={}, candidates={"main": {"loss": loss}}, chosen="main", best=min(losses))
                for loss in losses]
    for losses, patience, expected in (((3., 2., 2.5), 1, True), ((3., 2., 2.5), 2, False), ((3., 2., 1.), 1, False),
                                       ((3., 2., 2.5), None, False)):
        assert enough(records(*losses), Selection("loss"), epochs=9, patience=patience) == expected
    assert enough(records(3., 2., 1.), Selection("loss"), epochs=3, patience=None)


def test_without_its_songs_it_stays_done_and_a_further_epoch_does_not(done, songs):
    config, folder = done
    shutil.rmtree(songs)
    with pytest.raises(DemucsError, match="no such folder.*moreover: dataset folder"):
        precheck.check(settings(songs, *SHORT, "epochs=3"), ranks=1, folder=folder)
    assert precheck.check(config, ranks=1, folder=folder) == test_sets.default_musdb().absolute()     # for the evaluation


def test_started_again_without_its_songs(songs, tmp_path):
    """As it is typed. Its curves are drawn where they are wanted, once."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing import event_accumulator as reader

    def start(*more):
        environment = {**os.environ, "_DORA_TEST_PATH": str(tmp_path / "outputs"), "OMP_NUM_THREADS": "1",
                       "DEMUCS_MUSDB": str(songs)}
        return preloaded.run("-m", "dora", "-P", "demucs", "run", *TINY, *SHORT, *more, env=environment)
    first = start(f"dset.metadata={tmp_path / 'cache'}")
    assert first.returncode == 0, first.stderr
    folder, = (tmp_path / "outputs" / "xps").iterdir()
    history = (folder / HISTORY).read_bytes()
    shutil.rmtree(songs)
    again = start(f"dset.metadata={tmp_path / 'cache'}", "misc.tensorboard=true")
    assert again.returncode == 0, again.stderr
    assert "All 2 epochs are done, so missing songs have no effect" in again.stderr + again.stdout
    assert last_said(folder).state == "done" and (folder / HISTORY).read_bytes() == history
    found = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={reader.SCALARS: 0})
    found.Reload()
    steps = last_said(folder).steps
    assert [event.step for event in found.Scalars("valid/loss")] == [steps, 2 * steps]


def test_a_finished_run_draws_its_history(done, songs):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    _, folder = done
    for _ in range(2):
        solver_in(folder, settings(songs, *SHORT, "misc.tensorboard=true")).run()
        assert len(list((folder / "tensorboard").glob("events.*"))) == 1      # the second time there is nothing to add


def test_a_run_that_continues_others_knows_how_many_epochs_are_behind_it(done, songs):
    _, folder = done
    behind = {"one": ("done", 2), "two": ("one", 3)}
    for name, (parent, epochs) in behind.items():
        child = solver_in(folder.parent / name, settings(songs, *SHORT, "epochs=1", f"continue_from={parent}"))
        child.run()
        card = schema.load(schema.RunCard, folder.parent / name / RUN_CARD)
        assert (card.continued_from, card.continued_after) == (parent, epochs)
    solver_in(folder.parent / "one", settings(songs, *SHORT, "epochs=1", "continue_from=done")).run()
    assert schema.load(schema.RunCard, folder.parent / "one" / RUN_CARD).continued_after == 2     # of a further session, too
    assert schema.load(schema.RunCard, folder / RUN_CARD).continued_after is None
    # A card that does not tell leaves it open.
    (folder / RUN_CARD).unlink()
    child = solver_in(folder.parent / "three", settings(songs, *SHORT, "epochs=1", "continue_from=done"))
    child.run()
    assert schema.load(schema.RunCard, folder.parent / "three" / RUN_CARD).continued_after is None
