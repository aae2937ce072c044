"""The last step of a batch script, with substitutes for Slurm's programs."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

from demucs.errors import SignatureError
from demucs.runs import launch, local, requeue, slurm
from demucs.runs.launch import Launcher, supervise
from demucs.runs.local import LaunchError, quoted

pytestmark = pytest.mark.runs

# Each of them writes down how it was called.
STUB = """#!/bin/bash
printf '%s' "${{0##*/}}" >> {folder}/calls
printf ' %s' "${{@//$'\\n'/ }}" >> {folder}/calls
echo >> {folder}/calls
{body}
"""
SCONTROL = """
case "$*" in
    "show hostnames"*) echo n1; echo n2 ;;
    "show node"*)      echo "NodeName=$4 Arch=x NodeAddr=10.0.0.1 NodeHostName=n1" ;;
    "show config")     echo "MpiDefault = none"; echo "MpiParams               = $TEST_PORTS" ;;
    "show job"*)       [ ! -e {folder}/away ] || exit 1
                       echo "JobId=7 JobName=x JobState=${{TEST_STATE:-RUNNING}} $TEST_FIELDS ExitCode=0:0" ;;
    requeue*)          [ ! -e {folder}/away ] || exit 1 ;;
esac
"""
DEAD_TASK = """
echo "some output"
echo "not to be missed" >&2
echo "srun: error: n2: task 1: Killed" >&2
echo "srun: error: n1: task 0: Exited with exit code 1" >&2
for i in $(seq 200); do [ ! -e {folder}/killed ] || break; sleep 0.1; done
exit 137
"""


class Stubs:
    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, body: str = "") -> None:
        path = self.folder / name
        path.write_text(STUB.format(folder=self.folder, body=body.format(folder=self.folder)))
        path.chmod(0o755)

    def calls(self, *names: str) -> list:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not names or line.split()[0] in names]


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """A job 7 of two nodes with two tasks and two GPUs each, in an empty folder, and its programs."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "DEMUCS_", "CUDA_VISIBLE"))]:
        monkeypatch.delenv(name)
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_TASKS_PER_NODE": "2(x2)",
                        "SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_NODELIST": "n[1-2]", "SLURMD_NODENAME": "n1",
                        "SLURM_JOB_CPUS_PER_NODE": "4(x2)"}.items():
        monkeypatch.setenv(name, value)
    for name in ("OMP_NUM_THREADS", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)                 # so that what is set is undone at the end
    monkeypatch.setenv("DEMUCS_EXPECTED_SIGNATURE", "")
    found = Stubs(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.folder}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    for name, body in (("scontrol", SCONTROL), ("srun", ""), ("squeue", "echo 7.0; echo 7.batch; echo 7.extern"),
                       ("scancel", 'case $1 in *KILL) : > {folder}/killed ;; esac')):
        found.add(name, body)
    return found


def command_line(*words, status=None, **environment):
    done = subprocess.run([sys.executable, "-m", "tools.launch", *words], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment})
    assert status is None or done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


# ------------------------------------------------------------------------------------------------------------- in a job

def test_tasks_of_a_job(stubs, capfd):
    stubs.add("srun", 'echo "at $MASTER_ADDR:$MASTER_PORT, $OMP_NUM_THREADS thread"; exit 5')
    assert Launcher("job").tasks(["python", "-m", "x", "a b"]) == 5
    said = capfd.readouterr().out
    assert "4 tasks, rendezvous at 10.0.0.1:10007\n" in said and "at 10.0.0.1:10007, 1 thread\n" in said
    time_of_day = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"
    assert re.search(time_of_day + r" srun --kill-on-bad-exit=1 bash -c .* task python -m x 'a b'\n", said)
    call, = stubs.calls("srun")
    assert call.startswith("srun --kill-on-bad-exit=1 bash -c export RANK=$SLURM_PROCID")
    assert call.endswith("task python -m x a b")


@pytest.mark.runs
def test_a_task_finds_its_ranks_and_no_shell_is_left():
    environment = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4", "PATH": os.environ["PATH"]}
    for reserved, port in (("12000-12001", "12000"), ("12005,12007", "12005"), (None, "999")):
        more = {"SLURM_STEP_RESV_PORTS": reserved} if reserved else {"MASTER_PORT": "999"}
        code = "import os; print(os.getpid(), *map(os.environ.get, ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT')))"
        task = subprocess.Popen(["bash", "-c", launch.TASK, "task", sys.executable, "-c", code], text=True,
                                stdout=subprocess.PIPE, env={**environment, **more})
        assert task.communicate(timeout=60)[0].split() == [str(task.pid), "3", "1", "4", port]


def test_a_port_that_slurm_lends(stubs, monkeypatch, capfd):
    monkeypatch.setenv("TEST_PORTS", "ports=12000-12999")
    assert Launcher("job").tasks(["true"]) == 0
    assert "rendezvous at 10.0.0.1:a port that Slurm reserves" in capfd.readouterr().out
    assert "--resv-ports=1 bash" in stubs.calls("srun")[0] and os.environ["MASTER_PORT"] == ""


def test_a_node_whose_controller_is_away_is_known_by_its_name(stubs):
    stubs.add("scontrol", "exit 1")
    assert slurm.first_node() == "n1"


SPREAD = ["--overcommit", "--distribution=arbitrary", "--nodelist=n1,n1,n2,n2"]


@pytest.mark.parametrize("placed, gpus, expected, words", [
    ("2(x2)", "2", [], ""), ("3,1", "2", SPREAD, "2 run on each"), ("1,3", None, SPREAD, "2 run on each"),
    ("2(x2)", "3", [], "Note: 2 of 6 GPUs idle")])
def test_tasks_are_spread(stubs, monkeypatch, capfd, placed, gpus, expected, words):
    monkeypatch.setenv("SLURM_TASKS_PER_NODE", placed)
    if gpus is None:
        monkeypatch.delenv("SLURM_GPUS_ON_NODE")
    else:
        monkeypatch.setenv("SLURM_GPUS_ON_NODE", gpus)
    assert launch.spread_tasks() == expected and words in capfd.readouterr().out


def test_more_tasks_than_gpus(stubs, tmp_path):
    done = command_line("train", "cafe0001", "--mode=job", "--name=train_slurm.sh", "--", "true", status=2,
                        SLURM_GPUS_ON_NODE="1")
    assert done.stderr == "train_slurm.sh: 2 tasks on a node with 1 GPUs: --ntasks, --nodes and --gres do not fit together\n"
    assert stubs.calls("srun") == []


def test_one_task(stubs, capfd):
    assert Launcher("job").one(["python", "x"]) == 0
    assert stubs.calls("srun") == ["srun --nodes=1 --ntasks=1 --kill-on-bad-exit=1 python x"]
    assert "Note: 3 of 4 GPUs idle" in capfd.readouterr().out and "OMP_NUM_THREADS" not in os.environ


def test_settings_that_are_another_experiment_by_now(stubs, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NAME", "cafe0002")
    with pytest.raises(LaunchError, match="experiment cafe0001 now, but were submitted as cafe0002"):
        Launcher("job").train("cafe0001", ["true"])


@pytest.mark.parametrize("signature", ["", ".", "..", "../x", "a/b"])
def test_the_account_stays_in_the_folder_of_runs(stubs, tmp_path, signature):
    with pytest.raises(SignatureError, match="is not a signature"):
        Launcher("job").train(signature, ["true"])
    assert not (tmp_path / "outputs").exists()
    done = command_line("train", "../x", "--mode=job", "--", "true", status=2)
    assert done.stderr == "error: '../x' is not a signature\n"


# ---------------------------------------------------------------------------------------------------------- supervision

@pytest.fixture
def train(stubs, tmp_path, monkeypatch, capfd):
    """Supervise a training whose srun runs `body`; returns the exit status and the output."""
    def run(body="", chain=False):
        stubs.add("srun", body)
        status = supervise(tmp_path / "cafe0001", lambda end: ["srun", *end], chain=chain)
        said = capfd.readouterr()
        return status, said.out + said.err
    return run


def test_what_a_dead_task_has_left_is_ended(stubs, train, monkeypatch):
    """And not what the next start of the job will run."""
    monkeypatch.setattr(launch, "TO_SAY", 0.5)
    monkeypatch.setattr(launch, "TO_PRINT", 0.3)
    status, said = train(DEAD_TASK)
    assert status == 0 and "not to be missed\n" in said and "some output\n" in said and "Back into the queue" in said
    assert "cafe0001: n2: task 1: Killed (before training began), without progress, 1 of 3 times" in said
    assert stubs.calls("srun") == ["srun --kill-on-bad-exit=0 --wait=0"]
    assert stubs.calls("squeue") == ["squeue --noheader --steps --jobs=7 --format=%i"]
    assert stubs.calls("scancel") == ["scancel --signal=QUIT 7.0", "scancel --signal=KILL 7.0"]
    assert stubs.calls("scontrol")[-1] == "scontrol requeue 7"


def test_the_end_of_a_step_whose_controller_is_away(stubs, train, monkeypatch):
    monkeypatch.setattr(launch, "TO_SAY", 0.1)
    monkeypatch.setattr(launch, "TO_PRINT", 0.1)
    stubs.add("squeue", '[ $(wc -l < {folder}/calls) -gt 4 ] || exit 1; echo 7.0')
    status, _ = train(DEAD_TASK)
    assert status == 0 and stubs.calls("scancel") == ["scancel --signal=KILL 7.0"] and len(stubs.calls("squeue")) > 1


def test_a_step_that_ends_by_itself_is_not_struck_afterwards(stubs, train):
    """Its end was prepared already: the question that was open is dropped, and nobody waits for the answer."""
    stubs.add("squeue", "echo $$ > {folder}/asking; exec sleep 600")
    status, said = train("echo 'srun: error: n1: task 0: Killed' >&2; "
                         "until [ -s {folder}/asking ]; do sleep 0.05; done; exit 137")
    assert status == 0 and "task 0: Killed" in said
    process = Path("/proc", (stubs.folder / "asking").read_text().strip())
    for _ in range(200):
        if not process.exists():
            break
        time.sleep(0.05)
    assert not process.exists() and stubs.calls("scancel") == []


def test_without_these_programs_srun_ends_the_step(stubs, train, monkeypatch):
    for name in ("squeue", "scancel"):
        (stubs.folder / name).unlink()
    monkeypatch.setattr(slurm.shutil, "which", lambda name: (stubs.folder / name).exists() or None)
    train("exit 0")
    assert stubs.calls("srun") == ["srun --kill-on-bad-exit=1"]


def test_a_controller_that_is_away_for_a_while(stubs, train, monkeypatch):
    waited, pause = [], time.sleep

    def sleep(seconds):
        if seconds < 5:                          # of the library, while a program runs
            return pause(seconds)
        waited.append(seconds)
        if len(waited) % 3 == 0:
            (stubs.folder / "away").unlink(missing_ok=True)
    monkeypatch.setattr(slurm.time, "sleep", sleep)
    (stubs.folder / "away").touch()
    status, said = train("exit 137")
    assert status == 0 and waited == [5, 5, 5] and "Back into the queue" in said and len(stubs.calls("srun")) == 1

    def state(*args, **kwargs):
        (stubs.folder / "away").touch()          # again, just after the state was told
        return {"JobState": "RUNNING"}
    monkeypatch.setattr(slurm, "job_fields", state)
    status, said = train("exit 137")
    assert status == 0 and waited[3:] == [10, 10, 10]
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    (stubs.folder / "away").touch()
    with pytest.raises(LaunchError, match="the state is saved, but scontrol requeue failed"):
        launch.back_into_the_queue()


@pytest.mark.parametrize("state, found", [("CANCELLED", "the job is CANCELLED: it stays so"), ("", "it stays so")])
def test_a_cancelled_job_does_not_come_back(stubs, train, monkeypatch, state, found):
    monkeypatch.setattr(slurm, "job_fields", lambda **kwargs: {"JobState": state})
    with pytest.raises(LaunchError, match=found):
        train("exit 137")
    assert not any("requeue" in call for call in stubs.calls("scontrol"))


def test_a_preempted_job_comes_back(stubs, train, monkeypatch):
    monkeypatch.setenv("TEST_FIELDS", "PreemptTime=2026-01-01T00:00:00")
    assert "it was preempted" in train("exit 143")[1]
    monkeypatch.setenv("TEST_FIELDS", "PreemptTime=None")
    status, said = train("exit 143")
    assert status == 143 and "it was stopped by SIGTERM" in said


def test_a_node_without_scontrol(stubs, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    with pytest.raises(LaunchError, match="has no scontrol to put the job back"):
        launch.back_into_the_queue()


def test_how_a_job_ends(stubs, train, monkeypatch):
    monkeypatch.setenv("DEMUCS_MOST_FAILURES", "9")
    assert train("exit 0")[0] == 0
    status, said = train("exit 2")                  # refused before it began: no verdict
    assert status == 2 and said.count("cafe0001: ") == 1
    status, said = train("echo 'srun: error: n1: task 0: Exited with exit code 3' >&2; exit 3")
    assert status == 3 and "It has never made progress" in said


def test_a_training_by_another_job_is_refused(stubs, train, tmp_path):
    (tmp_path / "cafe0001").mkdir()
    (tmp_path / "cafe0001" / "lock").write_text('{"job": "9"}')
    stubs.add("squeue", "echo RUNNING")
    status, said = train()
    assert status == 2 and "cafe0001: job 9 is training cafe0001: one job at a time" in said
    assert stubs.calls("srun") == []


def test_a_chain(stubs, train, monkeypatch, tmp_path):
    for name, value in {"SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MAX": "2"}.items():
        monkeypatch.setenv(name, value)
    status, said = train("exit 137", chain=True)
    assert status == 0 and "The next job of the chain goes on" in said
    assert "scontrol requeue" not in "".join(stubs.calls())
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.raises(LaunchError, match="the chain of jobs has come to its end before the training"):
        train("exit 137", chain=True)
    requeue.keep_account(tmp_path / "cafe0001", job="20", verdict="DONE", reason="the run is done")
    status, said = train(chain=True)
    assert status == 0 and "the chain has ended before: the run is done" in said


def test_an_account_that_cannot_be_kept(stubs, tmp_path):
    (tmp_path / "outputs").write_text("in the way")
    done = command_line("train", "cafe0001", "--mode=job", "--", "true", status=2)
    assert done.stderr.startswith("error: cannot keep account of the starts of cafe0001: ")
    assert stubs.calls("srun") == []


def test_a_job_of_a_grid(stubs, tmp_path, monkeypatch, capfd):
    experiment = tmp_path / "xps" / "cafe0001"
    for name, value in {"SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MAX": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEMUCS_SUPERVISED", "")
    monkeypatch.setenv("TEST_PORTS", "ports=1-2")
    stubs.add("python", f"echo noise; echo {experiment}")
    stubs.add("srun", "[ $DEMUCS_SUPERVISED = 1 ] && exit 137")
    submitit = ["python", "-u", "-m", "submitit.core._submit", "folder"]
    command = ["--output", "a b", "--kill-on-bad-exit=1", "--unbuffered", *submitit]
    assert launch.grid(command) == 0
    assert stubs.calls("python") == ["python -m demucs.scheduling folder"]
    assert stubs.calls("srun") == ["srun --kill-on-bad-exit=0 --wait=0 --output a b --unbuffered --resv-ports=1 "
                                   "python -u -m submitit.core._submit folder"]
    assert stubs.calls("scontrol")[-1] == "scontrol requeue 20_4"       # an array is no chain here
    assert requeue.attempts(experiment)["job"] == "20_4"
    monkeypatch.delenv("DEMUCS_SUPERVISED")
    stubs.add("python", "exit 1")
    stubs.add("srun", "exit 6")
    assert launch.grid(command) == 6 and "submitit alone decides" in capfd.readouterr().out
    assert stubs.calls("srun")[-1] == " ".join(["srun", *command])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launcher_in_a_job_ends_without_a_traceback(stubs, number):
    stubs.add("srun", ": > {folder}/up; sleep 20")
    process = subprocess.Popen([sys.executable, "-m", "tools.launch", "train", "cafe0001", "--mode=job", "--", "true"],
                               env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    while not (stubs.folder / "up").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)
    assert process.communicate(timeout=10)[1] == "" and process.returncode == -number


# ------------------------------------------------------------------------------------------------------- on this machine

def test_processes_here_are_as_a_shell_would_start_them(stubs, capfd, monkeypatch):
    monkeypatch.setenv("DEMUCS_LOCAL_TASKS", "2")
    code = 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $DEMUCS_LAUNCHER $OMP_NUM_THREADS ' \
           '$(grep SigIgn /proc/self/status)"; read x || echo nothing to read'
    assert Launcher("here").tasks(["bash", "-c", code]) == 0
    said = capfd.readouterr().out
    for rank in range(2):
        found = re.search(rf"^{rank} {rank} 2 127.0.0.1 {os.getpid()} 1 SigIgn:\s(\w+)$", said, re.MULTILINE)
        ignored = {number for number in range(1, 32) if int(found[1], 16) >> (number - 1) & 1}
        assert ignored >= {signal.SIGINT, signal.SIGQUIT} and not ignored & {signal.SIGPIPE, signal.SIGTERM}
    assert len(re.findall("^nothing to read", said, re.MULTILINE)) == 2


def test_the_status_is_that_of_the_first_that_failed(stubs):
    assert local.Ranks().run(3, ["bash", "-c", "exit $RANK"]) in (1, 2)
    assert local.Ranks().run(1, ["bash", "-c", "kill -KILL $$"]) == 137
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(FileNotFoundError):
        local.Ranks().run(2, ["/no/such/program"])


@pytest.mark.runs
def test_ctrl_c_that_is_for_somebody_else_stays_ignored():
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from demucs.runs.local import Ranks; " \
           "Ranks().run(1, ['bash', '-c', 'kill -INT $DEMUCS_LAUNCHER; sleep 0.2'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Asked" not in done.stdout + done.stderr


@pytest.mark.parametrize("listed, count", [("", 0), ("-1", 0), ("-1,0", 0), ("4,6", 2), ("0", 1), ("GPU-a,GPU-b,", 2)])
def test_gpus_that_are_visible(monkeypatch, listed, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.delenv("DEMUCS_LOCAL_TASKS", raising=False)
    assert local.visible_gpus() == count and local.local_tasks() == max(1, count)


def test_gpus_that_the_driver_lists(stubs):
    stubs.add("nvidia-smi", 'echo "GPU 0: A (UUID: x)"; echo "  MIG 1g"; echo "GPU 1: A"')
    assert local.visible_gpus() == 2


def test_threads_of_processes_that_use_all_cores(stubs, monkeypatch, capfd):
    for cores, threads in (("6", "6"), ("", str(max(1, len(os.sched_getaffinity(0)) // 2)))):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", cores)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setenv("DEMUCS_LOCAL_TASKS", "2")
        Launcher("here").tasks(["bash", "-c", "echo threads=$OMP_NUM_THREADS"], all_cores=True)
        assert f"threads={threads}\n" in capfd.readouterr().out


def test_an_export_that_is_needed(stubs, tmp_path, capfd, monkeypatch):
    folder = tmp_path / "outputs" / "xps" / "cafe0001"
    folder.mkdir(parents=True)
    (folder / "best.th").touch()
    stubs.add("python", "mkdir -p release_models; : > release_models/$3.th; exit ${{TEST_STATUS:-0}}")
    python = str(stubs.folder / "python")
    here = Launcher("here")
    assert here.release("cafe0001", python) == 0
    assert "release_models/cafe0001.th does not exist: exporting experiment cafe0001 first" in capfd.readouterr().out
    assert here.release("cafe0001", python) == 0 and len(stubs.calls("python")) == 1
    later = time.time() + 10
    os.utime(folder / "best.th", (later, later))
    monkeypatch.setenv("TEST_STATUS", "3")
    done = command_line("one", "--release=cafe0001", "--", python, "-m", "demucs", status=3)
    assert "is older than the weights of experiment cafe0001: exporting them again" in done.stdout
    assert stubs.calls("python")[1:] == ["python -m tools.export cafe0001"]      # and nothing after it


# -------------------------------------------------------------------------------------------------------------- the rest

def test_it_needs_python_alone(stubs):
    """As on a login node: no installed package can be imported, and the answer comes at once."""
    words = ["train", "", "--mode=submit", "--dry-run", "--", "python", "a b"]
    done = subprocess.run([sys.executable, "-S", "-m", "tools.launch", *words], cwd=REPOSITORY, capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and re.fullmatch(r"    srun .* task python 'a b'\n", done.stdout)


def test_output_that_nobody_reads_stops_nothing(stubs):
    """Neither a pipe whose reader is gone nor a full disk."""
    stubs.add("srun", "echo 'srun: warning' >&2; : > {folder}/ran")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "tools.launch", "train", "cafe0001", "--mode=job", "--", "true"],
                              env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=full, stderr=full, timeout=60)
    assert done.returncode == 0 and (stubs.folder / "ran").exists()
    piped = f"{sys.executable} -m tools.launch one -- bash -c 'sleep 0.2; : > done' | :"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", piped], env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and Path("done").exists()


@pytest.mark.runs
@pytest.mark.parametrize("word", ["plain", "a b", "it's", "", "$HOME", "a\nb", "a\tb'c\\", "é", "back\\slash", "\x07",
                                  "x=[1,2]"])
def test_commands_are_shown_as_bash_quotes_them(word):
    assert subprocess.run(["bash", "-c", f"printf '%s' {quoted([word])}"], capture_output=True).stdout == word.encode()
    if word not in ("plain", "x=[1,2]", "\x07"):        # the same, with other signs
        shown = subprocess.run(["bash", "-c", 'printf "%s" "${1@Q}"', "bash", word], capture_output=True, text=True,
                               env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
        assert quoted([word]) == shown
    assert quoted(["a", word]) == f"a {quoted([word])}"
