"""The result of a step does not depend on how its global batch is split over processes."""

import copy
import json
import os
import sys
from importlib.util import find_spec

import numpy as np
import preloaded
import pytest
from training.small import composed
from training.test_every_model import SMALL, SMALLER, smaller

from demucs import experiment
from demucs import train as entry
from demucs.errors import ConfigError
from demucs.training.distributed import check_launch, join_group

pytestmark = pytest.mark.runs

SCRIPT = """
import json
import os
import sys
import numpy as np
import torch
from pathlib import Path
from demucs.building import build_solver
from demucs.config import read
from demucs.training.distributed import join_group
torch.set_num_threads(1)
folder, values = map(Path, sys.argv[1:])
config = read(json.loads(values.read_text()))
folder.mkdir(exist_ok=True, parents=True)
group = join_group()
if os.environ.get("CANNOT_READ") == os.environ["RANK"]:
    from demucs.errors import PackageError
    from demucs.training import checkpoints, restoring
    read_checkpoint = restoring.read_checkpoint
    def fail(path):
        if path.name == checkpoints.NEWEST:
            raise PackageError(f"{path}: Input/output error")
        return read_checkpoint(path)
    checkpoints.read_checkpoint = restoring.read_checkpoint = fail
solver = build_solver(config, folder, group, signature="x")
if "STOP_AT_A_SAVE" in os.environ:
    save = solver.saving.save
    def save_and_stop(**kwargs):
        save(**kwargs)
        solver.saving.finish()
        sys.exit(0)
    solver.saving.save = save_and_stop
solver.run()
flat = torch.cat([p.detach().flatten() for p in solver.model.parameters()]).numpy()
np.save(folder / f"rank{group.rank}.npy", flat)
buffers = torch.cat([torch.zeros(1), *(buffer.flatten() for buffer in solver.model.buffers())])
np.save(folder / f"buffers{group.rank}.npy", buffers.numpy())
if group.is_first:
    record = solver.history[-1]
    np.save(folder / "metrics.npy", [record.train["loss"], record.train["penalty"], record.valid["loss"],
                                     record.valid["nsdr"], record.test["nsdr"]])
"""


def start(songs, out, world_size, *overrides, **variables):
    """A small run over `world_size` processes, to its end."""
    port = 20000 + os.getpid() % 10000
    values = copy.deepcopy(composed("batch_size=8", "augment.remix.group_size=2", "epochs=1", "max_batches=2", *overrides))
    values["dset"].update(musdb=str(songs), metadata=str(out.parent / "cache"))
    file = out.parent / f"{out.name}.json"
    file.write_text(json.dumps(values))
    processes = []
    for rank in range(world_size):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_RANK": str(rank),
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", **variables}
        processes.append(preloaded.Popen("-c", SCRIPT, out, file, env=environment, merge=True))
    outputs = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)


def train(songs, out, world_size, *overrides, **variables):
    """Weights of every rank and metrics after such a run."""
    start(songs, out, world_size, *overrides, **variables)
    return [np.load(out / f"rank{rank}.npy") for rank in range(world_size)], np.load(out / "metrics.npy")


# DiffQ's noise is the same on all processes, and its penalty is not multiplied by their number, as the summed loss is.
QUANTISED = ["quant.diffq=0.1", "quant.min_size=0.0002", "quant.group_size=4"] if find_spec("diffq") else []


@pytest.mark.parametrize("overrides", [[], ["optim.loss=mse", "optim.lr=1e-4", *QUANTISED]], ids=["l1", "mse"])
def test_any_split_gives_the_same_step(songs, tmp_path, overrides):
    (alone,), metrics = train(songs, tmp_path / "one", 1, *overrides)
    for world_size, more in ((2, []), (4, []), (1, ["misc.examples_at_once=3"]), (2, ["misc.examples_at_once=3"])):
        ranks, others = train(songs, tmp_path / f"{world_size}{more}", world_size, *overrides, *more)
        for weights in ranks:
            assert np.array_equal(weights, ranks[0])
        # Two Adam steps of 3e-4 on sums in another order.
        assert np.abs(ranks[0] - alone).max() <= 1e-6
        assert np.abs(others - metrics).max() <= 1e-4 * np.abs(metrics).max()


OPENUNMIX = ["model=openunmix", *SMALL["openunmix"], "optim.loss=magnitude_mse", "optim.lr=1e-3",
             "optim.weight_decay=1e-5", "dset.normalize=false"]
SEPARATOR = ["model=openunmix_separator", *SMALL["openunmix_separator"], "optim.loss=l1", "dset.normalize=false"]


@pytest.mark.parametrize("overrides", [OPENUNMIX, SEPARATOR], ids=["magnitudes", "waveforms"])
def test_batch_normalisation_and_dropout_do_not_depend_on_the_number_of_processes(songs, tmp_path, overrides):
    """Statistics are over the global batch, and the masks of dropout are drawn for each example."""
    (alone,), metrics = train(songs, tmp_path / "one", 1, *overrides)
    statistics = np.load(tmp_path / "one" / "buffers0.npy")
    assert len(statistics) > 100
    for world_size in (2, 4) if overrides is OPENUNMIX else (2,):
        ranks, others = train(songs, tmp_path / f"{world_size}", world_size, *overrides)
        buffers = [np.load(tmp_path / f"{world_size}" / f"buffers{rank}.npy") for rank in range(world_size)]
        for weights, running in zip(ranks, buffers):
            assert np.array_equal(weights, ranks[0]) and np.array_equal(running, buffers[0])
        assert np.abs(ranks[0] - alone).max() <= 1e-5
        assert np.abs(buffers[0] - statistics).max() <= 1e-5 * np.abs(statistics).max()
        assert np.abs(others - metrics).max() <= 1e-4 * np.abs(metrics).max()


@pytest.mark.parametrize("name", SMALLER)
def test_moving_averages_gates_and_fusions_do_not_depend_on_the_number_of_processes(songs, tmp_path, name):
    """All parameters get gradients, without which a step over several processes would fail."""
    (alone,), metrics = train(songs, tmp_path / "one", 1, *smaller(name), "ema.epoch=[]")
    averages = np.load(tmp_path / "one" / "buffers0.npy")
    ranks, others = train(songs, tmp_path / "two", 2, *smaller(name), "ema.epoch=[]")
    assert np.array_equal(*ranks) and np.abs(ranks[0] - alone).max() <= 1e-6      # as of other models, above
    assert len(averages) == {"htdemucs_nn": 1 + 3 + 4 * 3, "htdemucs_dn": 1 + 3, "hybrid": 1 + 4 * 2}.get(name, 1)
    assert np.unique(averages).size > 2 or name == "htdemucs_s"                   # they are no longer all equal
    for rank in range(2):
        assert np.abs(np.load(tmp_path / "two" / f"buffers{rank}.npy") - averages).max() <= 1e-7
    assert np.abs(others - metrics).max() <= 1e-4 * np.abs(metrics).max()


def test_processes_with_batch_normalisation_end_with_the_same_bits_however_often_they_are_started(songs, tmp_path):
    argv = [*OPENUNMIX, "epochs=2"]
    ranks, metrics = train(songs, tmp_path / "straight", 2, *argv)
    start(songs, tmp_path / "again", 2, *argv, STOP_AT_A_SAVE="1")
    others, same = train(songs, tmp_path / "again", 2, *argv)
    assert all(np.array_equal(weights, ranks[0]) for weights in [*ranks, *others]) and np.array_equal(metrics, same)
    assert np.array_equal(*(np.load(tmp_path / name / "buffers0.npy") for name in ("straight", "again")))


def test_mixed_precision_and_activation_checkpointing(songs, tmp_path):
    """Ranks agree on the loss scale, and with the activations that are computed again the bits are the same."""
    argv = ["optim.precision=fp16", "misc.examples_at_once=3"]
    stored, metrics = train(songs, tmp_path / "stored", 2, *argv)
    again, others = train(songs, tmp_path / "again", 2, *argv, "misc.checkpoint_activations=true")
    assert all(np.array_equal(weights, stored[0]) for weights in [*stored, *again]) and np.array_equal(metrics, others)
    assert np.isfinite(metrics).all()


@pytest.mark.parametrize("more", [[], ["checkpoint.steps=1"]], ids=["after an epoch", "after a step"])
def test_a_run_goes_on_with_another_number_of_processes(songs, tmp_path, more):
    """Interrupted on two processes and continued on one, it ends where one process alone would."""
    argv = ["epochs=2", *more]
    (alone,), metrics = train(songs, tmp_path / "one", 1, *argv)
    start(songs, tmp_path / "two", 2, *argv, STOP_AT_A_SAVE="1")
    (continued,), others = train(songs, tmp_path / "two", 1, *argv)
    assert np.abs(continued - alone).max() <= 2e-6      # four Adam steps, some of them on sums in another order
    assert np.abs(others - metrics).max() <= 1e-4 * np.abs(metrics).max()


def test_three_processes_end_with_the_same_bits_however_often_they_are_started(songs, tmp_path):
    """The sum over two is the same in any order; over three it is rounded as the order has it."""
    argv = ["epochs=2", "batch_size=6"]
    ranks, metrics = train(songs, tmp_path / "straight", 3, *argv)
    start(songs, tmp_path / "again", 3, *argv, STOP_AT_A_SAVE="1")
    others, same = train(songs, tmp_path / "again", 3, *argv)
    assert all(np.array_equal(weights, ranks[0]) for weights in [*ranks, *others]) and np.array_equal(metrics, same)


def test_all_processes_go_on_from_one_checkpoint(songs, tmp_path):
    """Where another process than the first cannot read the newest, none goes on; the first decides for all."""
    (alone,), _ = train(songs, tmp_path / "one", 1, "epochs=3")
    start(songs, tmp_path / "two", 2, "epochs=2")
    with pytest.raises(AssertionError, match="Input/output error"):
        start(songs, tmp_path / "two", 2, "epochs=3", CANNOT_READ="1")
    ranks, _ = train(songs, tmp_path / "two", 2, "epochs=3", CANNOT_READ="0")
    assert np.array_equal(*ranks) and np.abs(ranks[0] - alone).max() <= 3e-6


def test_what_fails_on_the_first_process_fails_on_all(songs, tmp_path):
    """Nobody waits for ever for one that cannot read the dataset."""
    (songs / "train" / "Song 1" / "bass.wav").write_bytes(b"RIFF")
    with pytest.raises(AssertionError, match="bass.wav"):
        start(songs, tmp_path / "two", 2)


@pytest.mark.parametrize("environment, says", [
    (dict(WORLD_SIZE="2"), "WORLD_SIZE=2, but RANK, MASTER_ADDR is not set"),
    (dict(WORLD_SIZE="2", SLURM_JOB_NODELIST="n1"), "WORLD_SIZE=2, but RANK is not set"),
    (dict(WORLD_SIZE="2", RANK="0"), "WORLD_SIZE=2, but MASTER_ADDR is not set"),
    (dict(RANK="1"), "RANK=1, but WORLD_SIZE is not set"),
    (dict(RANK="2", WORLD_SIZE="2", MASTER_ADDR="n1"), "RANK=2 and WORLD_SIZE=2"),
    (dict(WORLD_SIZE="0"), "RANK=0 and WORLD_SIZE=0"),
    (dict(WORLD_SIZE="two"), "WORLD_SIZE='two' in the environment is no number"),
    (dict(WORLD_SIZE=""), "WORLD_SIZE='' in the environment is no number"),
    (dict(WORLD_SIZE="2", RANK="-1"), "RANK='-1'"), (dict(LOCAL_RANK="x"), "LOCAL_RANK='x'"),
    (dict(WORLD_SIZE="2", RANK="0", MASTER_ADDR="n1", MASTER_PORT="http"), "MASTER_PORT='http'")])
def test_what_another_launcher_left_is_told_before_dora_sees_it(environment, says, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(experiment, "RANK_ALONE", None)
    monkeypatch.setattr(sys, "argv", ["train", "misc.show=true"])
    with pytest.raises(SystemExit) as refused:
        entry.main()
    message = str(refused.value)
    assert message.startswith("error: ") and says in message and "\n" not in message
    assert message.endswith("unset what an earlier launcher has left, or start through the batch scripts or `dora run -d`")
    with pytest.raises(ConfigError, match="earlier launcher"):
        join_group()


def test_a_rank_that_dora_has_completed(monkeypatch):
    """It makes a group of one of it, where all GPUs were meant."""
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(experiment, "RANK_ALONE", "3")
    monkeypatch.setattr(sys, "argv", ["train", "misc.show=true"])
    with pytest.raises(SystemExit, match="error: RANK=3, but WORLD_SIZE is not set"):
        entry.main()


def test_a_launch_that_is_complete():
    check_launch({})
    check_launch(dict(WORLD_SIZE="1", RANK="0", LOCAL_RANK="0"))
    check_launch(dict(WORLD_SIZE="2", RANK="1", MASTER_ADDR="n1"))         # Dora finds a port
    check_launch(dict(WORLD_SIZE="2", RANK="1", SLURM_JOB_NODELIST="n1"))
