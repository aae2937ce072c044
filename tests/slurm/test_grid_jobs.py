"""Jobs that Dora submits through submitit: what is written for sbatch, and that a warned job goes on where it was."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, require_program
from dora.shep import Shepherd
from training.conftest import TINY, write_track

from demucs import schema
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.train import main

PATIENCE = 180


def test_what_is_written_for_sbatch(tmp_path, monkeypatch):
    monkeypatch.setattr(main.dora, "dir", tmp_path / "outputs")
    monkeypatch.setenv("SLURM_KILL_BAD_EXIT", "")
    require_program("srun")
    settings = main.get_slurm_config()
    settings.gpus = 16
    executor = Shepherd(main)._get_submitit_executor("name", tmp_path, settings)
    lines = executor._make_submission_file_text("python", "uid").splitlines()
    for line in ("nodes=2", "ntasks-per-node=8", "gres=gpu:8", "cpus-per-task=11", "signal=USR2@300", "open-mode=append"):
        assert f"#SBATCH --{line}" in lines
    assert not any(re.match("#SBATCH --(partition|constraint|mem)", line) for line in lines)     # the cluster's own
    assert "source slurm_scripts/grid_setup.sh" in lines and "--kill-on-bad-exit=1" in lines[-1]
    assert executor.max_num_timeout == 1000


@pytest.mark.slurm
def test_a_warned_job_goes_on_and_so_does_one_that_has_lost_a_task(cluster, tmp_path):
    """Two tasks in one group, under the rules of the batch scripts: what stops them, SIGUSR2 and the death of one, puts
    the job back, and scancel ends it."""
    songs = tmp_path / "songs"
    for folder, seed in (("train/A song", 0), (f"train/{VALIDATION_TRACKS[0]}", 1), ("test/The test", 2)):
        write_track(songs / folder, seed)
    environment = {**os.environ, **cluster, "_DORA_TEST_PATH": str(tmp_path / "outputs"), "OMP_NUM_THREADS": "1",
                   "DEMUCS_DEVICE": "cpu", "GLOO_SOCKET_IFNAME": "lo"}

    def run(*command):
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)

    def until(condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, what + "\n" + "\n".join(
                log.read_text() for log in tmp_path.glob("outputs/xps/*/submitit/*log.out"))
            time.sleep(0.1)

    def jobs():
        return run("squeue", "--noheader", "--format=%j").stdout

    def status():
        return schema.load(schema.RunStatus, folder / "status.json")
    argv = [*TINY, f"dset.musdb={songs}", f"dset.metadata={tmp_path / 'cache'}", "epochs=60", "max_batches=1",
            "augment.remix.group_size=2"]
    launched = run(sys.executable, "-m", "dora", "-P", "demucs", "launch", "--no_tail", "-g", "2", *argv)
    assert launched.returncode == 0, launched.stdout + launched.stderr
    (folder,) = (tmp_path / "outputs" / "xps").iterdir()
    until(lambda: (folder / "checkpoint.th").exists(), "it trains")
    run("scancel", "--signal=USR2", f"--name=demucs_{folder.name}")
    until(lambda: status().restarts > 0, "it is back")
    stopped = [line for line in (folder / "ledger.jsonl").read_text().splitlines() if "SIGUSR2" in line]
    assert len(stopped) == 1
    account = schema.read_json(folder / "attempts.json")
    assert account["job"] == status().job and account["start"] >= [0, 1, 0, 0]

    restarts = status().restarts
    os.kill(status().process, signal.SIGKILL)
    until(lambda: status().restarts > restarts, "it is back again")
    log, = folder.glob("submitit/*_0_log.out")
    assert "it was stopped by SIGUSR2" in log.read_text() and "task 0: Killed" in log.read_text()
    run("scancel", f"--name=demucs_{folder.name}")
    until(lambda: folder.name not in jobs(), "it is cancelled")
    assert status().world_size == 2
    time.sleep(8)                                     # no fourth start: what is cancelled stays so
    assert folder.name not in jobs()
    starts = [line for line in (folder / "ledger.jsonl").read_text().splitlines() if '"start"' in line]
    assert len(starts) == 3
