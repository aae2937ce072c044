"""Processes stopped on one machine without Slurm: by Ctrl-C, by the end of another rank, or of the launcher."""

import contextlib
import faulthandler
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPOSITORY
from training.small import TINY

from demucs import schema, train
from demucs.training import interruption
from demucs.training.distributed import Group, lost_peer
from demucs.training.interruption import LAUNCHER, Requests, end_with_launcher, launched_here

pytestmark = pytest.mark.runs

ALONE = Group(0, 1, torch.device("cpu"))
FORK = multiprocessing.get_context("fork")


class Rank:
    """Process that runs `work(self)`, writes stderr to a file, and reports its progress."""

    def __init__(self, work, log):
        self.log = log
        self.ours, self.theirs = FORK.Pipe()
        self.process = FORK.Process(target=self._run, args=(work,))
        self.process.start()
        self.theirs.close()

    def _run(self, work):
        os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT), 2)
        sys.__stderr__ = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        faulthandler.disable()
        self.ours.close()
        work(self)

    def say(self, word):
        self.theirs.send(word)

    def hear(self):
        assert self.ours.poll(60), "nothing was said"
        return self.ours.recv()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def end(self):
        """(exit status, what it wrote on stderr)"""
        self.process.join(60)
        alive = self.process.is_alive()
        self.process.kill()
        assert not alive, "still there"
        return self.process.exitcode, self.log.read_text()


def hang():
    while True:
        time.sleep(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_rank_that_waits_for_a_dead_one_ends_when_it_is_asked_to_stop(tmp_path, number):
    """It never gets to where ranks agree. It says where it stands, and takes its own processes with it."""
    def work(rank):
        with Requests(ALONE, grace=0.2).listening():
            child = FORK.Process(target=hang)
            child.start()
            rank.say(child.pid)
            hang()
    rank = Rank(work, tmp_path / "log")
    child = rank.hear()
    rank.signal(number)
    status, log = rank.end()
    assert status == 1 and "in hang" in log
    assert log.splitlines()[-1].startswith("a stop was asked for") and "last checkpoint" in log
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_rank_that_agrees_to_stop_has_time_to_save(tmp_path):
    def work(rank):
        requests = Requests(ALONE, grace=0.3)
        with requests.listening():
            rank.say("listening")
            while not requests.agreed()[0]:
                time.sleep(0.01)
            time.sleep(1)                # the checkpoint
            rank.say(requests.stop_signal)
    rank = Rank(work, tmp_path / "log")
    assert rank.hear() == "listening"
    rank.signal(signal.SIGTERM)
    assert rank.hear() == "SIGTERM" and rank.end() == (0, "")


def test_long_steps_are_waited_for(tmp_path):
    """What took long before may take long again."""
    def work(rank):
        requests = Requests(ALONE, grace=0.01)
        with requests.listening():
            time.sleep(0.5)
            requests.agreed()
            rank.say("a step")
            time.sleep(0.7)
            rank.say(requests.agreed())
    rank = Rank(work, tmp_path / "log")
    assert rank.hear() == "a step"
    rank.signal(signal.SIGTERM)
    assert rank.hear() == (True, False) and rank.end() == (0, "")


def test_a_second_interrupt_ends_at_once(tmp_path):
    """The first is noted, as SIGTERM is; that the terminal's is followed by the SIGTERM of Dora is no second one."""
    def work(rank):
        requests = Requests(ALONE)
        with requests.listening():
            rank.say("listening")
            while not requests.stop_signal:
                time.sleep(0.01)
            rank.say(requests.stop_signal)
            hang()
    rank = Rank(work, tmp_path / "log")
    assert rank.hear() == "listening"
    rank.signal(signal.SIGINT)
    assert rank.hear() == "SIGINT"
    rank.signal(signal.SIGTERM)
    rank.signal(signal.SIGINT)
    status, log = rank.end()
    assert status == 130
    assert log == "interrupted twice: the run goes on from its last checkpoint when it is started again\n"


@pytest.mark.parametrize("error", [
    RuntimeError("[/gloo/transport/tcp/pair.cc:538] Read error [127.0.0.1]:40157: Connection reset by peer"),
    torch.distributed.DistBackendError("NCCL error\nmore"), torch.distributed.DistNetworkError("timed out")])
def test_the_death_of_another_rank_is_no_unexpected_error(error):
    message = lost_peer(error)
    assert message.startswith("another process of this run has ended") and str(error).splitlines()[0] in message
    assert "\n" not in message and "last checkpoint" in message
    assert lost_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == lost_peer(ValueError("gloo")) == ""


def test_listening_leaves_nothing_behind():
    before = signal.getsignal(signal.SIGINT)
    for _ in range(3):
        with Requests(ALONE, grace=1).listening():
            assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    descriptor = signal.set_wakeup_fd(-1)
    assert descriptor == -1
    assert "signals" not in [thread.name for thread in interruption.threading.enumerate()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody tells a process that its parent is gone")
@pytest.mark.parametrize("known", [True, False])
def test_ranks_end_with_what_started_them(tmp_path, known):
    """They save before. Those that a shell started, which may end before them, are left alone."""
    def launcher(outer):
        def work(rank):
            os.environ[LAUNCHER] = str(os.getppid() if known else 1)
            requests = Requests(ALONE)
            with requests.listening():
                end_with_launcher()
                outer.say((os.getpid(), launched_here()))
                parent = os.getppid()
                while os.getppid() == parent:
                    time.sleep(0.01)
                time.sleep(0.2)
                outer.say(requests.agreed()[0] and requests.stop_signal)
            os._exit(0)
        work_process = FORK.Process(target=work, args=(None,))
        work_process.start()
        hang()
    outer = Rank(launcher, tmp_path / "log")
    _, launched = outer.hear()
    assert launched == known
    outer.signal(signal.SIGKILL)
    assert outer.hear() == ("SIGTERM" if known else False)
    outer.process.join()


def test_dora_names_itself_to_the_ranks_that_it_starts(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv(LAUNCHER, raising=False)
    train.main.get_xp([])
    assert os.environ[LAUNCHER] == str(os.getpid())
    monkeypatch.setenv(LAUNCHER, "77")
    monkeypatch.setenv("RANK", "0")
    train.main.get_xp([])
    assert os.environ[LAUNCHER] == "77"


def started(songs, tmp_path, *options, **variables):
    """A `dora run` in a session of its own, as in a terminal, that trains."""
    argv = [*TINY, f"dset.musdb={songs}", f"dset.metadata={tmp_path / 'cache'}", "misc.num_workers=1", "epochs=500",
            "batch_size=4", "augment.remix.group_size=2", "dset.valid_samples=2", "checkpoint.minutes=0"]
    run = subprocess.Popen(
        [sys.executable, "-m", "dora", "-P", "demucs", "run", *options, *argv], cwd=REPOSITORY, start_new_session=True,
        text=True, env={**os.environ, "_DORA_TEST_PATH": str(tmp_path / "dora"), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until(lambda: any("Train Summary" in log.read_text() for log in (tmp_path / "dora" / "xps").glob("*/train.log*")), run)
    return run


def until(condition, run):
    deadline = time.monotonic() + 120
    while not condition():
        assert run.poll() is None, run.stdout.read()
        if time.monotonic() > deadline:
            pytest.fail("it hangs")
        time.sleep(0.05)


def left(run):
    """Processes of its session that still run."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(entry)}/stat") as file:
                state, _, _, session = file.read().rpartition(")")[2].split()[:4]
            if int(session) == run.pid and state != "Z":
                found.append(int(entry))
    return found


def output_of(run):
    try:
        return run.communicate(timeout=120)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_dora_run_without_streams(songs, tmp_path):
    """As a program without a console starts it."""
    argv = [*TINY, f"dset.musdb={songs}", f"dset.metadata={tmp_path / 'cache'}", "misc.num_workers=1", "epochs=1",
            "batch_size=4", "augment.remix.group_size=2", "dset.valid_samples=2", "test.sdr=False"]
    command = [sys.executable, "-m", "dora", "-P", "demucs", "run", *argv]
    done = subprocess.run(["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *command], cwd=REPOSITORY,
                          env={**os.environ, "_DORA_TEST_PATH": str(tmp_path / "dora"), "OMP_NUM_THREADS": "1"})
    status, = (tmp_path / "dora" / "xps").glob("*/status.json")
    assert done.returncode == 0 and json.loads(status.read_text())["state"] == "done"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_ctrl_c_saves_what_a_gpu_trains(songs, tmp_path):
    run = started(songs, tmp_path, DEMUCS_DEVICE="cuda")
    os.killpg(run.pid, signal.SIGINT)
    output = output_of(run)
    assert run.returncode == 130 and "Stopped by SIGINT: the state is saved" in output, output
    assert left(run) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("options, status", [([], 130), (["-d", "--ddp_workers=2"], 1)], ids=["one", "two"])
def test_ctrl_c_saves(songs, tmp_path, options, status):
    """The terminal's reaches all processes. When the command is over, all of them are, and the run can go on."""
    run = started(songs, tmp_path, *options)
    os.killpg(run.pid, signal.SIGINT)
    run.wait(120)
    assert left(run) == []
    output = output_of(run)
    folder, = (tmp_path / "dora" / "xps").iterdir()
    logs = output + "".join(path.read_text() for path in folder.glob("worker_*.log"))
    assert run.returncode == status and "Traceback" not in logs, logs
    assert "Stopped by SIGINT: the state is saved" in output, output
    found = schema.load(schema.RunStatus, folder / "status.json")
    assert (found.state, found.reason) == ("stopped", "SIGINT") and (folder / "checkpoint.th").exists()
