"""Grids give the signatures of published Demucs, and experiments are submitted only when their parents are trained."""

import importlib
import json
import os
from pathlib import Path

import compositions
import preloaded
import pytest
from conftest import REPOSITORY
from dora.explore import Herd, Launcher
from dora.shep import Shepherd
from omegaconf import OmegaConf

from demucs import config as configuration
from demucs.building import build_augment
from demucs.grids._explorers import TrainingExplorer
from demucs.grids._lineage import origin
from demucs.schema import load_history
from demucs.train import main

pytestmark = pytest.mark.runs

TABLE = json.loads((Path(__file__).resolve().parent / "golden" / "signatures.json").read_text())
GRIDS = [name.removeprefix("grid_") for name in TABLE if name.startswith("grid_")]
OWN = json.loads((Path(__file__).resolve().parent / "golden" / "own_grids.json").read_text())      # not of published Demucs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(main.dora, "dir", tmp_path)
    return tmp_path


def herd_of(grid):
    """The experiments of a grid as Dora collects them, without its processes."""
    herd = Herd()
    with compositions.kept():
        importlib.import_module(f"demucs.grids.{grid}").explorer(Launcher(Shepherd(main), main.get_slurm_config(), herd))
    return herd


def submitted(herd):
    return {signature for array in herd.job_arrays for signature in array}


def train(signature, folder, epochs):
    history = folder / "xps" / signature / "history.json"
    history.parent.mkdir(parents=True, exist_ok=True)
    history.write_text(json.dumps([{}] * epochs))


def dora_grid(*arguments, folder, **environment):
    return preloaded.run("-m", "dora", "-P", "demucs", "grid", *arguments,
                         env={**os.environ, "_DORA_TEST_PATH": str(folder), **environment})


def test_every_grid_is_in_the_table():
    modules = {path.stem for path in (REPOSITORY / "demucs" / "grids").glob("*.py") if not path.name.startswith("_")}
    assert modules - set(OWN) == set(GRIDS) and len(GRIDS) == 8 and set(OWN) <= modules


@pytest.mark.parametrize("grid", GRIDS)
def test_grid_has_the_published_signatures(grid, folder):
    """In a folder where nothing is trained or known."""
    herd = herd_of(grid)
    assert set(herd.sheeps) == set(TABLE[f"grid_{grid}"])
    parents = {signature: sheep.xp.cfg.continue_from for signature, sheep in herd.sheeps.items()}
    assert submitted(herd) == {signature for signature, parent in parents.items() if not parent}


@pytest.mark.parametrize("grid", OWN)
def test_signatures_of_own_grids_stay(grid, folder):
    assert sorted(herd_of(grid).sheeps) == sorted(OWN[grid])


def test_the_instrumental_grid(folder):
    """Four models with two schedules each; every experiment is valid, and trains on four GPUs as on one."""
    found = [configuration.read(OmegaConf.to_container(sheep.xp.cfg, resolve=True))
             for sheep in herd_of("instrumental").sheeps.values()]
    assert {(config.model, config.epochs) for config in found} == {
        (model, epochs) for model in ("htdemucs", "htdemucs_n", "htdemucs_nn", "htdemucs_nn_conv") for epochs in (10, 13)}
    for config in found:
        assert config.target_names == ["instrumental"] and config.training_length == 4 * 44100 and config.segment == 10
        assert (config.schedule.kind, list(config.schedule.restarts)) == ("cosine_restarts", [10])
        assert config.augment.same and config.augment.shift_same and not config.augment.remix.proba
        build_augment(config, 4)


@pytest.mark.parametrize("grid", ["sdx23", "mdx_refine"])
def test_dora_grid_makes_them_known(grid, tmp_path):
    done = dora_grid(grid, "--dry_run", "--init", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "xps").iterdir() if (path / ".argv.json").exists()}
    assert made == set(TABLE[f"grid_{grid}"])
    assert all(signature in done.stdout for signature in made)


def test_children_wait_for_their_parents(folder, capsys):
    """Of mdx_refine, those are submitted whose parents have all their epochs."""
    train("9357e12e", folder, 360)
    train("3ab079dc", folder, 359)
    assert submitted(herd_of("mdx_refine")) == {"0d19c1c6"}
    said = capsys.readouterr()
    assert "parent 3ab079dc has 359 of 360 epochs: 6b9c2ca1" in said.out + said.err


def test_a_child_of_nobody_waits(folder, capsys):
    @TrainingExplorer
    def explorer(launcher):
        launcher({"epochs": 3})
        launcher({"epochs": 3, "continue_from": "nobody"})
    herd = Herd()
    explorer(Launcher(Shepherd(main), main.get_slurm_config(), herd))
    assert len(herd.sheeps) == 2 and len(submitted(herd)) == 1
    said = capsys.readouterr()
    assert "nobody is not known here" in said.out + said.err


# What submitit calls: a job gets the next number, and every job that was ever submitted is running.
SLURM = {"sbatch": 'n=$(ls "$JOBS" | wc -l); cp "$1" "$JOBS/$((n + 1))"; echo "Submitted batch job $((n + 1))"',
         "sacct": 'echo "JobID|State"; for job in $(ls "$JOBS"); do echo "$job|RUNNING"; done', "scancel": "exit 1"}


def test_dora_grid_submits_only_what_can_run(tmp_path):
    programs, jobs, folder = tmp_path / "bin", tmp_path / "jobs", tmp_path / "dora"
    for made in (programs, jobs, folder):
        made.mkdir()
    for name, script in SLURM.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    train("9357e12e", folder, 360)
    done = dora_grid("mdx_refine", "--no_monitoring", folder=folder, JOBS=str(jobs),
                     PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert len(list(jobs.iterdir())) == 1
    assert "Scheduled job 1 for sheep 0d19c1c6" in done.stdout + done.stderr
    assert [path.parent.name for path in (folder / "xps").glob("*/job.json")] == ["0d19c1c6"]
    assert done.stdout.count("N/A") == 11


def test_origin_follows_the_whole_line(folder):
    assert origin("e51eebcc").sig == origin("269b2268").sig == origin("76a5c33b").sig == origin("3d21764b").sig
    assert origin("3d21764b").sig == "3d21764b"


def test_the_table_reads_real_histories(reference):
    explorer = TrainingExplorer(lambda launcher: None)
    path = reference / "runs" / "history_759c9a58_epochs_1_to_127.json"
    row = explorer.process_history(json.loads(path.read_text()))
    records = load_history(path)
    assert row["train"]["epoch"] == 127
    assert row["valid"]["best_nsdr"] == max(record.valid["nsdr"] for record in records)
    assert row["valid"]["penalty"] == records[-1].penalty
    assert explorer.process_history([]) == {"train": {"epoch": 0}, "valid": {}, "test": {}}
