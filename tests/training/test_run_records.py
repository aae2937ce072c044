"""Records of a real run, in a copy of the code as made for queued jobs."""

import dataclasses
import json
import os
import platform
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY, require_program
from training.small import TINY, settings, solver_in

from demucs import schema
from demucs.runs import ledger, overview, provenance
from demucs.runs.jobs import Slurm
from demucs.runs.status import refused
from demucs.schema import RunCard, RunStatus
from demucs.training import records
from demucs.training.distributed import Group

pytestmark = pytest.mark.runs

HELPER = REPOSITORY / "slurm_scripts" / "code_snapshot.sh"


def run(*command, cwd, **environment):
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=200,
                          env={**{key: value for key, value in os.environ.items() if key != "_DORA_TEST_PATH"},
                               "OMP_NUM_THREADS": "1", **environment})


def test_a_real_run_in_a_copy_of_the_code(songs, tmp_path):
    require_program("git")
    root = tmp_path / "repository"
    assert run("git", "clone", "-q", REPOSITORY, root, cwd=tmp_path).returncode == 0
    (root / "README.md").write_text("changed\n")
    copy = run("bash", HELPER, root, cwd=tmp_path).stdout.strip()
    argv = [*TINY, "epochs=1", "test.every=9", f"dset.musdb={songs}", f"dset.metadata={tmp_path / 'cache'}",
            "misc.num_workers=0"]
    done = run(sys.executable, "-m", "dora", "run", *argv, cwd=copy, SLURM_JOB_ID="77", SLURM_RESTART_COUNT="2")
    assert done.returncode == 0, done.stderr
    folder, = (root / "outputs" / "xps").iterdir()
    card = schema.load(RunCard, folder / "run_card.json")
    session, = card.sessions
    commit = run("git", "rev-parse", "HEAD", cwd=root).stdout.strip()
    assert card.commit == session.commit == f"{commit}-dirty"
    assert b"+changed" in (folder / session.diff).read_bytes()
    assert session.command == [os.path.basename(sys.executable), "-m", "dora", "run", *argv]
    assert card.delta["hdemucs.channels"] == 4 and card.delta["epochs"] == 1 and "misc.num_workers" not in card.delta
    assert card.packages["dora_search" if "dora_search" in card.packages else "dora-search"] and len(card.packages) > 20
    assert (session.job, session.restarts, session.gpus, len(session.nodes)) == ("77", 2, {}, 1)
    lines, damaged = ledger.read(folder)
    assert [(line.event, line.state, line.epoch) for line in lines] == [("start", "", 0), ("end", "done", 1)]
    assert damaged == 0 and lines[1].nodes == session.nodes and lines[1].seconds > 0
    # Refused before it began, as a run whose songs are gone: the status says why.
    songs.rename(tmp_path / "elsewhere")
    again = run(sys.executable, "-m", "dora", "run", *argv, "epochs=2", cwd=copy)
    assert again.returncode == 1
    found = {row.state: row for row in overview.rows(root / "outputs" / "xps", slurm=Slurm())}
    assert set(found) == {"done", "failed"}
    assert str(songs) in found["failed"].why and found["done"].epochs_done == 1 and found["done"].sessions == 1


def test_machines_of_a_group(monkeypatch):
    """Two nodes, of which one has another GPU."""
    class Pair(Group):
        def gather(self, value):
            return [value, ("n2", "NVIDIA A100"), ("n2", "NVIDIA A100")]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(platform, "node", lambda: "n1")
    assert Pair(0, 3, torch.device("cuda", 0)).machines() == (["n1", "n2"], {"NVIDIA H200": 1, "NVIDIA A100": 2})


def test_differences_of_several_sessions(songs, tmp_path, monkeypatch):
    """One file for each difference, named by its content; a clean checkout has none."""
    config = settings(songs, "epochs=2")
    for number, diff in enumerate((b"diff --git a b\n", b"diff --git a b\n", b"")):
        monkeypatch.setattr(records, "uncommitted", lambda: diff)
        solver = solver_in(tmp_path / "x", settings(songs, f"epochs={number + 1}"))
        solver.run()
    assert config.epochs == 2
    sessions = schema.load(RunCard, tmp_path / "x" / "run_card.json").sessions
    names = [session.diff for session in sessions]
    assert names[0] == names[1] and names[2] == "" and len(list((tmp_path / "x").glob("*.diff"))) == 1
    assert (tmp_path / "x" / names[0]).read_bytes() == b"diff --git a b\n"


def test_a_long_difference_is_cut(monkeypatch):
    monkeypatch.setattr(provenance, "_git", lambda *arguments: b"x" * 5000)
    assert provenance.uncommitted(limit=100) == b"x" * 100 + b"\n# cut here: 5000 bytes in all\n"
    assert provenance.uncommitted() == b"x" * 5000


def test_a_ledger_that_cannot_be_written_stops_nothing(songs, tmp_path, caplog):
    (tmp_path / "x" / ledger.LEDGER).mkdir(parents=True)
    solver = solver_in(tmp_path / "x", settings(songs, "epochs=1"))
    solver.run()
    assert len(solver.history) == 1 and "cannot write the ledger" in caplog.text
    assert schema.load(RunStatus, tmp_path / "x" / "status.json").state == "done"
    row, = overview.rows(tmp_path, slurm=Slurm())[-1:]
    assert row.state in ("damaged", "new") and json.loads(overview.as_json([row]))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_is_said(songs, tmp_path, monkeypatch, error):
    solver = solver_in(tmp_path / "x", settings(songs, "epochs=1"))

    def interrupt(*arguments, **more):
        raise error
    monkeypatch.setattr(solver.valid, "run", interrupt)
    with pytest.raises(error):
        solver.run()
    status = schema.load(RunStatus, tmp_path / "x" / "status.json")
    assert (status.state, status.reason) == ("failed", error.__name__)
    assert ledger.read(tmp_path / "x")[0][-1].state == "failed"


def test_a_start_that_is_refused_leaves_the_end_of_a_run_on_record(tmp_path):
    status = RunStatus(signature="cafe0001", epoch=2, step=0, steps=4, epochs=2, best_nsdr=1., seconds_per_step=1.,
                       world_size=1, device="cpu", started="2026-01-01T00:00:00+00:00", updated="2026-01-01T01:00:00+00:00",
                       state="done", reason="", host="n1", process=1, job="", restarts=0)
    schema.save(status, tmp_path / "status.json")
    refused(tmp_path, "cafe0001", "DEMUCS_DEVICE='foo' is unknown")
    assert schema.load(RunStatus, tmp_path / "status.json") == status
    schema.save(dataclasses.replace(status, state="running"), tmp_path / "status.json")
    refused(tmp_path, "cafe0001", "DEMUCS_DEVICE='foo' is unknown")
    assert schema.load(RunStatus, tmp_path / "status.json").state == "failed"
