"""Jobs that Dora submits through submitit: their batch scripts, and continuation after the signal at the time limit."""

import os
import re
import signal
import subprocess
import time

import preloaded
import pytest
from conftest import REPOSITORY, require_program
from dora.shep import Shepherd
from slurm.gate import Gate
from training.small import TINY, write_songs

from demucs import schema
from demucs.train import main

PATIENCE = 600


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


class Submitter:
    """Jobs of Dora on a private Slurm, with experiments in a folder of their own and songs of noise. They wait at `gate`
    after the first epoch of each start."""

    def __init__(self, root, cluster):
        self.root = root
        self.experiments = root / "outputs" / "xps"
        write_songs(root / "songs")
        self.settings = [*TINY, f"dset.musdb={root / 'songs'}", f"dset.metadata={root / 'cache'}", "epochs=6",
                         "max_batches=1", "augment.remix.group_size=2"]
        self.gate = Gate(root / "gate")
        self.environment = {**os.environ, **cluster, "_DORA_TEST_PATH": str(root / "outputs"), "OMP_NUM_THREADS": "1",
                            "DEMUCS_DEVICE": "cpu", "GLOO_SOCKET_IFNAME": "lo", **self.gate.environment}

    def run(self, *command):
        done = subprocess.run(command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *arguments):
        done = preloaded.run(*arguments, cwd=REPOSITORY, env=self.environment, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(what + "\n" + "\n".join(
                    log.read_text() for log in self.root.glob("outputs/**/submitit/*log.out")))
            time.sleep(0.1)

    def state(self, job):
        return re.search(r" JobState=(\S+)", self.run("scontrol", "show", "job", "--oneliner", job))[1]

    def jobs(self):
        return self.run("squeue", "--noheader", "--format=%j")


@pytest.fixture
def dora(cluster, tmp_path):
    return Submitter(tmp_path, cluster)


def status(folder):
    return schema.load(schema.RunStatus, folder / "status.json")


def starts(folder):
    return [line for line in (folder / "ledger.jsonl").read_text().splitlines() if '"start"' in line]


@pytest.mark.slurm
def test_a_warned_job_goes_on_and_so_does_one_that_has_lost_a_task(dora):
    """Two tasks in one group, under the rules of the batch scripts: what stops them, SIGUSR2 and the death of one, puts
    the job back, and scancel ends it."""
    dora.submit("-m", "dora", "-P", "demucs", "launch", "--no_tail", "-g", "2", *dora.settings)
    (folder,) = dora.experiments.iterdir()
    dora.until(lambda: (folder / "checkpoint.th").exists(), "it trains")
    dora.run("scancel", "--signal=USR2", f"--name=demucs_{folder.name}")
    dora.until(lambda: status(folder).restarts > 0, "it is back")
    stopped = [line for line in (folder / "ledger.jsonl").read_text().splitlines() if "SIGUSR2" in line]
    assert len(stopped) == 1
    account = schema.read_json(folder / "attempts.json")
    assert account["job"] == status(folder).job and account["start"] >= [0, 1, 0, 0]

    restarts = status(folder).restarts
    os.kill(status(folder).process, signal.SIGKILL)
    dora.until(lambda: status(folder).restarts > restarts, "it is back again")
    log, = folder.glob("submitit/*_0_log.out")
    assert "it was stopped by SIGUSR2" in log.read_text() and "task 0: Killed" in log.read_text()
    job = status(folder).job
    dora.run("scancel", f"--name=demucs_{folder.name}")
    # Final once its processes, which could put it back, have ended: no fourth start.
    dora.until(lambda: dora.state(job) == "CANCELLED", "it is cancelled")
    assert status(folder).world_size == 2
    assert folder.name not in dora.jobs()
    assert len(starts(folder)) == 3


ARRAY = """
import sys
from dora.conf import SubmitRules
from dora.shep import Shepherd
from demucs.train import main
settings = main.get_slurm_config()
settings.gpus = 1
shepherd = Shepherd(main)
with shepherd.job_array(settings):
    for seed in "12":
        shepherd.maybe_submit_lazy(shepherd.get_sheep_from_argv([*sys.argv[1:], f"seed={seed}"]), settings, SubmitRules())
shepherd.commit()
"""


@pytest.mark.slurm
def test_jobs_of_an_array_are_put_back_one_by_one(dora):
    """One of them has the number of the whole array: what ends it must not end the other."""
    dora.submit("-c", ARRAY, *dora.settings)
    dora.until(lambda: len(list(dora.experiments.glob("*/checkpoint.th"))) == 2, "both train")
    array = min(int(status(folder).job) for folder in dora.experiments.iterdir())
    hit, other = sorted(dora.experiments.iterdir(), key=lambda folder: int(status(folder).job) != array)
    assert int(status(other).job) > array
    for restarts, inject in ((1, lambda: os.kill(status(hit).process, signal.SIGKILL)),
                             (2, lambda: dora.run("scancel", "--signal=USR2", schema.read_json(hit / "lock")["job"]))):
        inject()
        dora.until(lambda: status(hit).restarts == restarts, "it is back")
        accounts = [schema.read_json(folder / "attempts.json") for folder in (hit, other)]
        assert {account["job"] for account in accounts} == {f"{array}_0", f"{array}_1"}
    dora.gate.open()
    dora.until(lambda: status(hit).state == status(other).state == "done", "both end")
    assert len(starts(hit)) == 3 and len(starts(other)) == 1
    dora.until(lambda: not dora.jobs(), "the queue is empty")
