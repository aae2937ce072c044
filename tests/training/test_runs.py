"""Whole small runs: records, interruption and resumption, starting from another run, and what stops a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import preloaded
import pytest
import soundfile
import torch
from conftest import REPOSITORY
from omegaconf import OmegaConf
from training.small import TINY, Stop, settings, solver_in, stop_at_next_save, weights, write_track

from demucs import precheck, schema, train
from demucs.config import read
from demucs.data.faults import FaultyTracks
from demucs.errors import ConfigError, DatasetError, PackageError, TrainingError
from demucs.evaluation import tracks
from demucs.packages import package
from demucs.train import main
from demucs.training.state import read_checkpoint

pytestmark = pytest.mark.runs

def test_what_a_run_leaves_behind(songs, tmp_path):
    folder = tmp_path / "xps" / "abc"
    solver = solver_in(folder, settings(songs, "save_every=2"))
    solver.run()
    history = schema.load_history(folder / "history.json")
    assert [record.to_history() for record in history] == [schema.finite(r.to_history()) for r in solver.history]
    assert len(history) == 3 and history[-1].test is not None and history[0].test is None
    assert set(history[0].candidates) == {"main", "ema_batch_0", "ema_epoch_0"}
    assert {"loss", "reco", "reco_drums", "grad", "penalty"} <= set(history[0].train)
    assert {"nsdr", "nsdr_vocals", "loss"} <= set(history[0].valid) and history[0].penalty > 0
    best = [schema.EpochRecord.from_history(e).best for e in json.loads((folder / "history.json").read_text())]
    assert best == [min(r.valid["loss"] for r in history[:n]) for n in (1, 2, 3)]
    card = schema.load(schema.RunCard, folder / "run_card.json")
    assert (card.epochs_done, card.epochs, card.train_tracks, card.valid_tracks) == (3, 3, 3, 1)
    assert card.sessions[0].first_epoch == 1 and card.sessions[0].last_epoch == 3
    assert card.parameters == sum(p.numel() for p in solver.model.parameters())
    model = package.load(folder / "best.th")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in solver.best_state.items())
    assert (folder / "checkpoint_2.th").exists() and not (folder / "checkpoint_1.th").exists()


def test_interrupted_runs_end_with_the_same_weights(songs, tmp_path):
    config = settings(songs)
    straight = solver_in(tmp_path / "straight", config)
    straight.run()

    for stop in (1, 2):
        solver = solver_in(tmp_path / "stopped", config)
        assert len(solver.history) == stop - 1
        stop_at_next_save(solver)
        with pytest.raises(Stop):
            solver.run()
    resumed = solver_in(tmp_path / "stopped", config)
    resumed.run()
    assert torch.equal(weights(resumed), weights(straight))
    for a, b in zip(resumed.history, straight.history):
        assert (a.train, a.candidates, a.chosen, a.best, a.test) == (b.train, b.candidates, b.chosen, b.best, b.test)
    card = schema.load(schema.RunCard, tmp_path / "stopped" / "run_card.json")
    assert [(s.first_epoch, s.last_epoch) for s in card.sessions] == [(1, 1), (2, 2), (3, 3)]
    # And once more, when all is done: nothing happens.
    again = solver_in(tmp_path / "stopped", config)
    again.run()
    assert len(again.history) == 3


def test_two_equal_runs_are_equal_and_seeds_differ(songs, tmp_path):
    results = []
    for name, override in (("a", "seed=1"), ("b", "seed=1"), ("c", "seed=2")):
        solver = solver_in(tmp_path / name, settings(songs, "epochs=1", override))
        solver.run()
        results.append(weights(solver))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_continue_from(songs, tmp_path):
    parent = solver_in(tmp_path / "parent", settings(songs))
    parent.run()
    best = solver_in(tmp_path / "best", settings(songs, "continue_from=parent", "seed=9"))
    last = solver_in(tmp_path / "last", settings(songs, "continue_from=parent", "continue_best=False",
                                                 "continue_opt=True"))
    fresh = solver_in(tmp_path / "fresh", settings(songs, "seed=9"))
    assert torch.equal(weights(last), weights(parent))
    for key, value in best.model.state_dict().items():
        assert torch.equal(value, parent.best_state[key])
    assert last.train.optimizer.state_dict()["state"] and not best.train.optimizer.state_dict()["state"]
    assert not torch.equal(weights(fresh), weights(best))
    assert not best.history
    # A model with another number of channels takes over what fits, which here are the biases of the outputs; another
    # kind of checkpoint is refused.
    wider = solver_in(tmp_path / "wider", settings(songs, "continue_from=parent", "hdemucs.channels=8"))
    assert torch.equal(wider.model.decoder[-1].conv_tr.bias, parent.best_state["decoder.1.conv_tr.bias"])
    saved = read_checkpoint(tmp_path / "parent" / "checkpoint.th")
    torch.save({**saved, "best_state": {"other": torch.zeros(3)}}, tmp_path / "parent" / "checkpoint.th")
    with pytest.raises(PackageError, match="another model"):
        solver_in(tmp_path / "other", settings(songs, "continue_from=parent"))


def test_continue_pretrained(songs, tmp_path):
    parent = solver_in(tmp_path / "parent", settings(songs, "epochs=1"))
    parent.run()
    model = package.load(tmp_path / "parent" / "best.th")
    package.save(model, tmp_path / "models" / "mine.th", card=model.card)
    solver = solver_in(tmp_path / "child", settings(songs, "continue_pretrained=mine",
                                                    f"pretrained_repo={tmp_path / 'models'}", "seed=9"))
    assert torch.equal(weights(solver), torch.cat([p.detach().flatten() for p in model.parameters()]))


def test_options_of_the_passes(songs, tmp_path):
    """Validation on segments without splitting, selection by nsdr, testing the last weights, one batch per epoch."""
    solver = solver_in(tmp_path / "x", settings(
        songs, "dset.full_cv=False", "valid_apply=False", "test.metric=nsdr", "test.best=False", "debug=True",
        "epochs=2", "test.every=1", "optim.loss=mse", "optim.optim=adamw", "optim.clip_grad=0.1", "test.save=True",
        "dset.train_valid=True", "svd.proba=0.5"))
    solver.run()
    history = solver.history
    assert history[1].best == max(record.valid["nsdr"] for record in history)
    assert history[1].valid["nsdr"] == max(c["nsdr"] for c in history[1].candidates.values())
    assert all(record.test for record in history)
    assert sorted(p.name for p in (tmp_path / "x" / "wav" / "Test song").iterdir()) == [
        f"{name}.mp3" for name in ("bass", "drums", "other", "vocals")]


def test_a_broken_sample_stops_before_the_step(songs, tmp_path):
    path = songs / "train" / "Song 1" / "bass.wav"
    wav, rate = soundfile.read(path)
    wav[::50] = np.nan
    soundfile.write(path, wav, rate, subtype="FLOAT")
    solver = solver_in(tmp_path / "x", settings(songs))
    before = weights(solver)
    with pytest.raises(TrainingError, match=r"loss is not finite in epoch 1, step 1;.*Song 1"):
        solver.run()
    assert torch.equal(weights(solver), before)
    assert not (tmp_path / "x" / "checkpoint.th").exists()


@pytest.mark.parametrize("overrides, kind, words", [
    (["batch_size=6"], ConfigError, "group"),
    (["batch_size=4000", "augment.remix.proba=0"], TrainingError, "batch_size=4000"),
    (["quant.diffq=1e-4"], ConfigError, "quant.min_size=0.2 MiB leaves nothing"),
    (["quant.diffq=1e-4", "quant.min_size=0"], ConfigError, "quant.group_size=8 does not divide"),
    (["quant.qat=8", "quant.min_size=0"], ConfigError, "all its weights are equal"),
    (["continue_from=nothing"], Exception, "continue_from=nothing"),
    (["optim.optim=sgd"], ConfigError, "optim.optim"),
])
def test_impossible_runs_are_refused(songs, tmp_path, overrides, kind, words):
    with pytest.raises(kind, match=words):
        solver_in(tmp_path / "x", settings(songs, *overrides))


def test_dataset_is_refused_before_training(songs, tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        solver_in(tmp_path / "x", settings(tmp_path / "nowhere"))
    (songs / "test" / "Test song" / "bass.wav").unlink()
    with pytest.raises(DatasetError, match=r"Test song.*bass\.wav"):
        solver_in(tmp_path / "x", settings(songs))


def test_test_songs_are_looked_at_before_training(songs, tmp_path, monkeypatch):
    """All that are faulty are named, with those to train on. A stem of one channel is no fault."""
    for number in range(5):
        write_track(songs / "test" / f"Song {number}", number)
    bad = {number: songs / "test" / f"Song {number}" / "vocals.wav" for number in range(5)}
    wav, rate = soundfile.read(bad[0])
    soundfile.write(bad[0], wav[:, 0], rate, subtype="FLOAT")
    soundfile.write(bad[1], wav[:-1], rate, subtype="FLOAT")
    soundfile.write(bad[2], wav, 2 * rate, subtype="FLOAT")
    wav[100] = np.nan
    soundfile.write(bad[3], wav, rate, subtype="FLOAT")
    bad[4].write_bytes(b"no sound")
    (songs / "train" / "Song 1" / "drums.wav").write_bytes(b"")
    with pytest.raises(FaultyTracks) as caught:
        solver_in(tmp_path / "x", settings(songs))
    told = str(caught.value)
    assert len(caught.value.faults) == 5 and "Song 0" not in told
    assert "vocals.wav has 2 x 15999 at 8000 Hz" in told and "vocals.wav has 2 x 16000 at 16000 Hz" in told
    assert f"{bad[3]}: 1 samples are not finite" in told and str(bad[4]) in told and "train/Song 1/drums.wav" in told

    for number in range(1, 5):
        shutil.copy(songs / "test" / "Test song" / "vocals.wav", bad[number])
    shutil.copy(songs / "train" / "Song 0" / "drums.wav", songs / "train" / "Song 1" / "drums.wav")
    solver = solver_in(tmp_path / "x", settings(songs, "epochs=1"))
    solver.run()
    assert solver.history[0].test is not None
    read = []
    monkeypatch.setattr(tracks, "_read_stem", lambda song, stem: read.append(stem))
    solver_in(tmp_path / "x", settings(songs, "epochs=1"))
    assert read == []        # they were read before


def test_checkpoints_are_checked(songs, tmp_path):
    config = settings(songs, "epochs=1")
    solver = solver_in(tmp_path / "x", config)
    solver.run()
    checkpoint = tmp_path / "x" / "checkpoint.th"
    saved = read_checkpoint(checkpoint)
    assert precheck.checkpoint_bytes(config)[0] <= checkpoint.stat().st_size     # what the pipeline wants to have room for
    assert {"state", "optimizer", "history", "best_state", "args", "ema_batch_0", "random_states"} <= set(saved)
    with pytest.raises(PackageError, match="belongs to another experiment"):
        solver_in(tmp_path / "x", settings(songs, "epochs=1", "hdemucs.channels=8"))
    with pytest.raises(PackageError, match=r"belongs to another experiment.*ema\.batch=\[0\.9\], this run has"):
        solver_in(tmp_path / "x", settings(songs, "epochs=1", "ema.batch=[0.9,0.99]"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(PackageError, match="cut short"):
        solver_in(tmp_path / "x", config)

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))
    torch.save({"state": Evil()}, checkpoint)
    with pytest.raises(PackageError):
        solver_in(tmp_path / "x", config)
    assert not (tmp_path / "executed").exists()


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from demucs.errors import TrainingError
from demucs.training.state import read_checkpoint, write_checkpoint
path = Path(sys.argv[1])
write_checkpoint({"step": 1}, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))      # as a full disk: writes beyond it fail
try:
    write_checkpoint({"step": 2, "big": torch.zeros(1_000_000)}, path)
except TrainingError as error:
    print(error)
assert read_checkpoint(path)["step"] == 1
assert sorted(p.name for p in path.parent.iterdir()) == [path.name]
"""


def test_full_disk_keeps_the_previous_checkpoint(tmp_path):
    out = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path / "checkpoint.th")], text=True, check=True,
                         capture_output=True, cwd=REPOSITORY)
    assert "previous checkpoint is untouched" in out.stdout


def dora(*arguments, songs, folder):
    environment = {**os.environ, "DEMUCS_MUSDB": str(songs), "_DORA_TEST_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        environment.pop(name, None)
    return preloaded.run("-m", "dora", "-P", "demucs", *arguments, env=environment)


def test_dora_run_clear_and_info(songs, tmp_path):
    argv = [*TINY, f"dset.metadata={tmp_path / 'cache'}", "epochs=1"]
    first = dora("run", *argv, songs=songs, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    (folder,) = (tmp_path / "xps").iterdir()
    log = (folder / "train.log").read_text()
    assert "Train | Epoch 1 | 1/2" in log and "left" in log and "Valid Summary | Epoch 1" in log
    assert schema.load(schema.RunCard, folder / "run_card.json").test_set.key == "dset.musdb"
    stamp = (folder / "checkpoint.th").stat().st_mtime_ns
    assert dora("run", *argv, songs=songs, folder=tmp_path).returncode == 0
    assert (folder / "checkpoint.th").stat().st_mtime_ns == stamp
    assert dora("run", "--clear", *argv, songs=songs, folder=tmp_path).returncode == 0
    assert (folder / "checkpoint.th").stat().st_mtime_ns != stamp
    info = dora("info", "-f", folder.name, songs=songs, folder=tmp_path)
    assert info.returncode == 0 and folder.name in info.stdout + info.stderr
    wrong = dora("run", "-f", "00000000", songs=songs, folder=tmp_path)
    assert wrong.returncode == 1 and folder.name in wrong.stderr and "Traceback" not in wrong.stderr
    missing = dora("run", *argv, songs=tmp_path / "nowhere", folder=tmp_path / "other")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr and "nowhere" in missing.stdout + missing.stderr


def test_tracks_are_named_in_other_layouts(tmp_path):
    """The custom wav dataset has its own validation folder."""
    for part, seed in (("train", 1), ("valid", 2)):
        write_track(tmp_path / "wavs" / part / f"Own {part}", seed)
    write_track(tmp_path / "songs" / "test" / "Test", 3)
    solver = solver_in(tmp_path / "x", settings(tmp_path / "songs", "dset.use_musdb=False",
                                                f"dset.wav={tmp_path / 'wavs'}", "epochs=1"))
    assert solver.train.track_name(0).startswith("Own train")
    solver.run()
    assert Path(tmp_path / "x" / "history.json").exists()


@pytest.mark.parametrize("overrides, expected", [
    ([], ("dset.musdb", "${oc.env:DEMUCS_MUSDB,./datasets/musdbhq}")), (["dset.musdb=songs"], ("dset.musdb", "songs")),
    (["dset.wav=mine", "dset.use_musdb=false"], ("dset.wav", "mine")), (["dset.wav=mine"], (
        "dset.musdb", "${oc.env:DEMUCS_MUSDB,./datasets/musdbhq}")),
    (["dset.wav=mine", "dset.sources=[a,b,c,d,e]", "weights=[1,1,1,1,1]"], ("dset.wav", "mine")),
    (["dset=sdx23_bleeding"], ("dset.wav", "${oc.env:DEMUCS_SDX23_BLEEDING,./datasets/moisesdb23_bleeding_v1.0}")),
    (["test.nonhq=/compressed"], ("test.nonhq", "/compressed"))])
def test_a_run_card_says_where_the_test_songs_are(overrides, expected, monkeypatch):
    """As it was set, so that a variable has its value wherever the card is read."""
    monkeypatch.setenv("DEMUCS_SDX23_BLEEDING", "/on/this/machine")
    monkeypatch.setenv("DEMUCS_MUSDB", "/on/this/machine")
    cfg = main.get_xp(overrides).cfg
    found = train.recorded_test_set(cfg, read(OmegaConf.to_container(cfg, resolve=True)))
    assert (found.key, found.folder) == expected
