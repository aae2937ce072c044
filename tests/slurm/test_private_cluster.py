"""The batch scripts on a real Slurm: a private one, two emulated nodes with eight emulated GPUs each."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.slurm

PATIENCE = 300   # seconds; each of these jobs takes about one


@pytest.fixture
def slurm(checkout, cluster):
    checkout.environment.update(cluster)
    (checkout.root / "slurm_scripts" / "slurm_out").mkdir(exist_ok=True)
    return checkout


def job_id(result: subprocess.CompletedProcess) -> str:
    found = re.search(r"Submitted batch job (\d+)", result.stdout)
    assert found, result.stdout + result.stderr
    return found[1]


def wait(checkout, *jobs: str, patience: float = PATIENCE) -> list[str]:
    """Final states, such as COMPLETED 0:0."""
    deadline = time.monotonic() + patience
    states = {}
    while len(states) < len(jobs):
        if time.monotonic() > deadline:
            pytest.fail(checkout.run("squeue").stdout)
        for job in set(jobs) - set(states):
            text = checkout.run("timeout", "10", "scontrol", "show", "job", "--oneliner", job).stdout
            state, code = (re.search(rf" {key}=(\S+)", text)[1] for key in ("JobState", "ExitCode"))
            if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
                states[job] = f"{state} {code}"
        if len(states) < len(jobs):
            time.sleep(0.3)          # each question takes as much computation as a job does
    return [states[job] for job in jobs]


def log_of(checkout, job: str, folder="slurm_out") -> str:
    logs = list((checkout.root / folder).glob(f"*-{job}.out"))
    assert len(logs) == 1
    return logs[0].read_text()


def test_eight_tasks_on_two_nodes(slurm):
    override = "dset.name='two  words' $HOME \"x\""
    job = job_id(slurm.run("sbatch", "--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "slurm_scripts/train_slurm.sh",
                           "180", override))
    assert wait(slurm, job) == ["COMPLETED 0:0"]
    records = slurm.records(job)
    assert [record["argv"] for record in records] == [slurm.training(180, override)] * 8
    environments = [record["env"] for record in records]
    assert [env["RANK"] for env in environments] == [str(rank) for rank in range(8)]
    assert [env["LOCAL_RANK"] for env in environments] == ["0", "1", "2", "3"] * 2
    assert [env["SLURMD_NODENAME"] for env in environments] == ["n1"] * 4 + ["n2"] * 4
    assert {env["WORLD_SIZE"] for env in environments} == {"8"}
    assert {env["CUDA_VISIBLE_DEVICES"] for env in environments} == {"0,1,2,3"}   # Slurm's, for all tasks of a node
    assert {env["MASTER_ADDR"] for env in environments} == {"127.0.0.1"}
    assert {env["MASTER_PORT"] for env in environments} == {str(10000 + int(job) % 22000)}
    assert {record["cwd"] for record in records} == {str(slurm.root)}
    assert "8 tasks, rendezvous at 127.0.0.1:" in log_of(slurm, job)


def test_a_port_that_slurm_reserves_is_used_where_it_does(checkout, cluster_with_ports):
    checkout.environment.update(cluster_with_ports)
    job = job_id(checkout.run("sbatch", "--nodes=2", "--ntasks=4", "--gres=gpu:2", "slurm_scripts/train_slurm.sh",
                              "180"))
    assert wait(checkout, job) == ["COMPLETED 0:0"]
    (port,) = {record["env"]["MASTER_PORT"] for record in checkout.records(job)}
    assert len(checkout.records(job)) == 4 and 12000 <= int(port) < 13000
    assert "rendezvous at 127.0.0.1:a port that Slurm reserves" in log_of(checkout, job)


def test_jobs_of_both_folders_at_once_share_neither_log_nor_port_nor_gpu(slurm):
    jobs = [job_id(slurm.run("sbatch", "--ntasks=2", "--gres=gpu:2", f"{prefix}train_slurm.sh", str(epochs),
                             cwd=slurm.root / folder, TEST_SLEEP="1"))
            for epochs, folder, prefix in [(1, ".", "slurm_scripts/"), (2, "slurm_scripts", ""),
                                           (3, ".", "slurm_scripts/")]]
    assert wait(slurm, *jobs) == ["COMPLETED 0:0"] * 3
    assert "epochs=1" in log_of(slurm, jobs[0]) and "epochs=3" in log_of(slurm, jobs[2])
    assert "epochs=2" in log_of(slurm, jobs[1], "slurm_scripts/slurm_out")
    environments = [slurm.records(job)[0]["env"] for job in jobs]
    assert len({env["MASTER_PORT"] for env in environments}) == 3
    gpus = [env["SLURMD_NODENAME"] + " " + gpu for env in environments for gpu in
            env["CUDA_VISIBLE_DEVICES"].split(",")]
    assert len(set(gpus)) == 6


def test_tasks_are_even_where_only_their_number_was_given(slurm):
    job = job_id(slurm.run("sbatch", "--nodes=2", "--ntasks=4", "--gres=gpu:2", "slurm_scripts/train_slurm.sh", "5"))
    assert wait(slurm, job) == ["COMPLETED 0:0"]
    places = [(record["env"]["SLURMD_NODENAME"], record["env"]["LOCAL_RANK"]) for record in slurm.records(job)]
    assert places == [("n1", "0"), ("n1", "1"), ("n2", "0"), ("n2", "1")]


def test_an_array_of_evaluations_exports_once_and_knows_its_parts(slurm):
    """Two jobs of two processes: each process finds which part of four it is."""
    from demucs.evaluation.shards import shard_of
    slurm.environment.pop("OMP_NUM_THREADS", None)
    job = job_id(slurm.run("sbatch", "--array=0-1", "--ntasks=2", "--gres=gpu:2", "--cpus-per-task=3",
                           "slurm_scripts/evaluate_slurm.sh", "11111111", TEST_EXPORTS=str(slurm.root)))
    deadline = time.monotonic() + PATIENCE
    while len(slurm.records()) < 5 or slurm.run("squeue", "--noheader", "--job", job).stdout:
        if time.monotonic() > deadline:
            pytest.fail(slurm.run("squeue").stdout)
        time.sleep(0.1)
    records = slurm.records()
    exports = [record for record in records if record["argv"][1] == "tools.export"]
    parts = [record for record in records if record["argv"][1] == "tools.test_pretrained"]
    assert len(exports) == 1 and len(records) == 5
    assert sorted(shard_of(record["env"]) for record in parts) == [(index, 4) for index in range(4)]
    assert {record["env"]["OMP_NUM_THREADS"] for record in parts} == {"3"}


def test_more_tasks_than_gpus_is_an_error(slurm):
    job = job_id(slurm.run("sbatch", "--ntasks=4", "--gres=gpu:2", "slurm_scripts/train_slurm.sh", "5"))
    assert wait(slurm, job) == ["FAILED 2:0"]
    assert "4 tasks on a node with 2 GPUs" in log_of(slurm, job)
    assert slurm.records(job) == []


def test_a_dead_rank_ends_the_job(slurm):
    job = job_id(slurm.run("sbatch", "--ntasks=3", "--gres=gpu:3", "slurm_scripts/train_slurm.sh", "5",
                           TEST_FAIL_RANK="1", TEST_SLEEP="100"))
    assert wait(slurm, job)[0].startswith("FAILED")
    assert len(slurm.records(job)) == 3           # it had never made progress: no second start
    assert "task 1: Exited with exit code 3 (before training began)" in log_of(slurm, job)


def test_bash_checks_then_submits_from_anywhere_as_the_cluster_file_says(slurm, tmp_path):
    (slurm.root / "slurm_scripts" / "cluster.env").write_text(
        "export SBATCH_COMMENT=mine\n"
        "DEMUCS_TRAIN_SBATCH_ARGS='--nodes=2 --ntasks=2 --ntasks-per-node=1 --gres=gpu:1'\n"
        "cluster_setup() { export TEST_FROM_SETUP=$SLURM_JOB_ID; }\n")
    inside = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "5", "SLURM_SUBMIT_DIR": "/", "RANK": "7", "WORLD_SIZE": "9"}
    dry = slurm.script("train_slurm.sh", "5", "--dry-run", cwd=tmp_path, **inside)
    assert re.search("sbatch --job-name=[0-9a-f]{8} --dependency=singleton --nodes=2 --ntasks=2 --ntasks-per-node=1 "
                     "--gres=gpu:1 ", dry.stdout) and "srun" in dry.stdout
    job = job_id(slurm.script("train_slurm.sh", "5", cwd=tmp_path, **inside))
    assert wait(slurm, job) == ["COMPLETED 0:0"]
    environments = [record["env"] for record in slurm.records(job)]
    assert [(env["SLURMD_NODENAME"], env["RANK"], env["LOCAL_RANK"], env["WORLD_SIZE"]) for env in environments] == [
        ("n1", "0", "0", "2"), ("n2", "1", "0", "2")]
    assert {env["TEST_FROM_SETUP"] for env in environments} == {job}
    log, = (slurm.root / "slurm_out").glob(f"*-{job}.out")
    assert re.fullmatch(r"[0-9a-f]{8}-\d+[.]out", log.name)      # the name of a job that trains is its signature


def test_wrong_arguments_are_not_submitted_and_end_a_job_in_its_first_second(slurm):
    refused = slurm.script("continue_run_slurm.sh", "deadbeef")
    assert refused.returncode == 2 and "no experiment deadbeef" in refused.stderr and "Submitted" not in refused.stdout
    commands = [("continue_run_slurm.sh", "deadbeef"), ("slurm_separate.sh", "absent.wav", "11111111"),
                ("train_slurm.sh", "ten")]
    jobs = [job_id(slurm.run("sbatch", "--ntasks=1", "--gres=gpu:1", f"slurm_scripts/{script}", *arguments))
            for script, *arguments in commands]
    assert wait(slurm, *jobs) == ["FAILED 2:0"] * 3
    for job, message in zip(jobs, ("no experiment deadbeef", "no such file", "not 'ten'")):
        assert message in log_of(slurm, job)
        assert slurm.records(job) == []


def test_a_script_submitted_from_elsewhere_finds_its_repository_or_says_what_to_do(slurm, tmp_path):
    command = ("sbatch", "--ntasks=1", "--gres=gpu:1", f"--output={tmp_path}/%j.out",
               slurm.root / "slurm_scripts" / "train_slurm.sh", "5")
    lost = job_id(slurm.run(*command, cwd=tmp_path))
    found = job_id(slurm.run(*command, cwd=tmp_path, DEMUCS_REPO=str(slurm.root)))
    inside = job_id(slurm.run(*command, cwd=slurm.root / "outputs" / "xps"))
    assert wait(slurm, lost, found, inside) == ["FAILED 2:0", "COMPLETED 0:0", "COMPLETED 0:0"]
    assert "submit in the repository or set DEMUCS_REPO" in (tmp_path / f"{lost}.out").read_text()
    assert slurm.records(found)[0]["cwd"] == slurm.records(inside)[0]["cwd"] == str(slurm.root)


def test_the_one_gpu_scripts(slurm, tmp_path):
    song = "a b's \"song\" $HOME.wav"
    (slurm.root / song).write_bytes(b"audio")
    (tmp_path / song).write_bytes(b"audio")
    (slurm.root / "release_models").mkdir()
    (slurm.root / "release_models" / "11111111.th").touch()
    jobs = [job_id(result) for result in (
        slurm.run("sbatch", "slurm_scripts/slurm_separate.sh", song, "11111111"),
        slurm.script("slurm_separate.sh", song, "11111111", cwd=tmp_path),
        slurm.run("sbatch", "evaluate_slurm.sh", "11111111", cwd=slurm.root / "slurm_scripts"),
        slurm.script("slurm_release.sh"),
        slurm.run("sbatch", "--ntasks=2", "slurm_scripts/continue_train_slurm.sh", "11111111"))]
    assert wait(slurm, *jobs) == ["COMPLETED 0:0"] * 5
    argvs = [[record["argv"] for record in slurm.records(job)] for job in jobs]
    separate = ["-m", "demucs", "--repo", "./release_models", "-n", "11111111"]
    assert argvs == [
        [separate + [str(slurm.root / song)]], [separate + [str(tmp_path / song)]],
        [["-m", "tools.test_pretrained", "--repo", "./release_models", "-n", "11111111"]],
        [["-m", "tools.export", "11111111"]],
        [["-m", "dora", "run", "-d", "-f", "11111111"]] * 2]
    assert all("," not in slurm.records(job)[0]["env"]["CUDA_VISIBLE_DEVICES"] for job in jobs[:4])
    assert slurm.records(jobs[2])[0]["env"]["WORLD_SIZE"] == "1"


TRAINER = """
import pathlib, pickle, signal, zipfile
from demucs import schema
from demucs.runs import progress
job, restarts = os.environ["SLURM_JOB_ID"], int(os.environ.get("SLURM_RESTART_COUNT") or 0)
start = int(os.environ.get("SLURM_ARRAY_TASK_ID") or restarts + 1)
folder = pathlib.Path("outputs/xps", os.environ["SLURM_JOB_NAME"])

def checkpoint(epochs, step):
    with zipfile.ZipFile(folder / "checkpoint.new", "w") as file:
        file.writestr("checkpoint/data.pkl", pickle.dumps({{"history": [{{}}] * epochs, "position": {{"step": step}}}}))
    progress.note(folder, (epochs, step, 0, 0), folder / "checkpoint.new")
    os.rename(folder / "checkpoint.new", folder / "checkpoint.th")

def status(state, reason=""):
    schema.save(schema.RunStatus(
        signature=folder.name, state=state, reason=reason, epoch=1, step=start, steps=9, epochs=1, best_nsdr=None,
        seconds_per_step=None, world_size=1, device="cpu", host="", process=1, job=job, restarts=restarts, started="",
        updated=""), folder / "status.json")

{}
"""


@pytest.fixture
def trains(slurm, tmp_path):
    """Submit a training whose tasks run `body`; returns the job and its final state."""
    def submit(body, tasks=1, **environment):
        (tmp_path / "trainer.py").write_text(TRAINER.format(body))
        (slurm.root / "slurm_scripts" / "cluster.env").write_text(
            f"DEMUCS_TRAIN_SBATCH_ARGS='--ntasks={tasks} --gres=gpu:{tasks}'\n")
        job = job_id(slurm.script("train_slurm.sh", "5", TEST_TRAINER=str(tmp_path / "trainer.py"), **environment))
        return job
    return submit


def test_back_into_the_queue_after_progress_and_given_up_without(slurm, trains):
    job = trains("if start == 1: checkpoint(0, 5)\nstatus('running')\nos.kill(os.getpid(), signal.SIGKILL)")
    assert wait(slurm, job, patience=90)[0].startswith("FAILED")
    log = log_of(slurm, job)
    assert len(slurm.records(job)) == 1 + 3 and log.count("Back into the queue") == 3     # all in one log
    assert "task 0: Killed (in epoch 1, after step 1)" in log
    assert "task 0: Killed (in epoch 1, after step 4). 3 starts in a row have made no progress" in log


STUBBORN = """
import faulthandler
faulthandler.register(signal.SIGQUIT, all_threads=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)       # as good as Python's handler inside a collective
if start == 1:
    (folder / f"pid{os.environ['RANK']}").write_text(str(os.getpid()))
    while os.environ["RANK"] != "1" or len(list(folder.glob("pid*"))) < 3:
        time.sleep(0.1)
    (folder / "death").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)
elif os.environ["RANK"] == "0":
    status("done")
"""


def test_no_task_outlives_a_dead_one_whatever_it_does(slurm, trains):
    """Not even where Slurm waits 30 s between SIGTERM and SIGKILL, as it does by default."""
    assert "KillWait                = 30 sec" in slurm.run("scontrol", "show", "config").stdout
    job = trains(STUBBORN, tasks=3)
    folders = slurm.root / "outputs" / "xps"
    deadline = time.monotonic() + PATIENCE
    while not list(folders.glob("*/death")):
        if time.monotonic() > deadline:
            pytest.fail(log_of(slurm, job))
        time.sleep(0.1)
    processes = [Path("/proc", path.read_text()) for path in folders.glob("*/pid*")]
    while any(process.exists() for process in processes):
        if time.monotonic() > deadline:
            pytest.fail(log_of(slurm, job))
        time.sleep(0.1)
    assert wait(slurm, job) == ["COMPLETED 0:0"]
    log = log_of(slurm, job)
    assert "task 1: Killed (before training began), without progress, 1 of 3 times" in log
    assert log.count("most recent call first") == 2      # where they stood


def test_stopped_by_the_time_limit_and_done_at_the_second_start(slurm, trains):
    job = trains("checkpoint(start - 1, 3)\nstatus('stopped', 'SIGUSR2') if start == 1 else status('done')")
    assert wait(slurm, job) == ["COMPLETED 0:0"] and len(slurm.records(job)) == 2
    assert "it was stopped by SIGUSR2" in log_of(slurm, job) and "the run is done" in log_of(slurm, job)


def test_terminated_for_good(slurm, trains):
    job = trains("checkpoint(0, 3)\nstatus('stopped', 'SIGTERM')")
    assert wait(slurm, job) == ["FAILED 1:0"] and len(slurm.records(job)) == 1
    assert "it was stopped by SIGTERM" in log_of(slurm, job)


def test_a_chain_of_jobs_needs_no_requeueing(slurm, trains):
    job = trains("checkpoint(start - 1, 3)\nstatus('stopped', 'SIGUSR2') if start == 1 else status('done')",
                 DEMUCS_CHAIN="3")
    until_over(slurm, job)
    logs = [path.read_text() for path in sorted((slurm.root / "slurm_out").glob("*.out"), key=os.path.getmtime)]
    assert len(logs) == 3 and len(slurm.records("")) == 2
    assert "The next job of the chain goes on" in logs[0] and "the run is done" in logs[1]
    assert "the chain has ended before: the run is done" in logs[2]


def test_scancel_of_one_job_of_a_chain_ends_the_chain(slurm, trains):
    job = trains("checkpoint(0, start)\nstatus('running')\ntime.sleep(100)", DEMUCS_CHAIN="3")
    deadline = time.monotonic() + PATIENCE
    while not list((slurm.root / "outputs" / "xps").glob("*/status.json")):
        if time.monotonic() > deadline:
            pytest.fail(slurm.run("squeue").stdout)
        time.sleep(0.1)
    slurm.run("scancel", f"{job}_1")
    until_over(slurm, job)
    logs = [path.read_text() for path in sorted((slurm.root / "slurm_out").glob("*.out"), key=os.path.getmtime)]
    assert len(slurm.records("")) == 1 and len(logs) == 3
    assert all(re.search(r"the chain has ended before: job \d+_1 was cancelled", log) for log in logs[1:])


def test_one_job_at_a_time_for_a_signature(slurm):
    (slurm.root / "slurm_scripts" / "cluster.env").write_text("DEMUCS_TRAIN_SBATCH_ARGS='--ntasks=1 --gres=gpu:1'\n")
    first, second = (job_id(slurm.script("train_slurm.sh", "5", TEST_SLEEP="3")) for _ in range(2))
    time.sleep(1.5)
    listed = slurm.run("squeue", "--noheader", "--format=%A %T %r").stdout.split("\n")
    assert any(line.startswith(f"{second} PENDING Dependency") for line in listed), listed
    assert wait(slurm, first, second) == ["COMPLETED 0:0"] * 2
    # Submitted without a name, a second job sees the first in the lock, where locks do not reach.
    lock = slurm.root / "outputs" / "xps" / "11111111" / "lock"
    holder = job_id(slurm.run("sbatch", "--output=/dev/null", "--wrap=sleep 5"))
    lock.write_text(f'{{"job": "{holder}", "host": "n2", "process": 1}}')
    job = job_id(slurm.run("sbatch", "--ntasks=1", "--gres=gpu:1", "slurm_scripts/continue_run_slurm.sh", "11111111"))
    assert wait(slurm, job) == ["FAILED 2:0"]
    assert f"job {holder} is training 11111111: one job at a time" in log_of(slurm, job)


def until_over(slurm, job, patience=PATIENCE):
    """Until nothing of `job` (which may be an array) is queued or runs any more."""
    deadline = time.monotonic() + patience
    while slurm.run("squeue", "--noheader", f"--jobs={job}").stdout.strip():
        if time.monotonic() > deadline:
            pytest.fail(slurm.run("squeue").stdout)
        time.sleep(0.2)


def pipeline_jobs(result):
    """Ids of the jobs by step, as the pipeline prints them."""
    assert result.returncode == 0, result.stdout + result.stderr
    return re.findall(r"^    (\w+) +job (\d+)$", result.stdout, re.MULTILINE)


@pytest.fixture
def pipeline(slurm, tmp_path):
    (tmp_path / "songs" / "test" / "A song").mkdir(parents=True)
    (tmp_path / "songs" / "test" / "A song" / "mixture.wav").write_bytes(b"audio")
    (slurm.root / "slurm_scripts" / "cluster.env").write_text("DEMUCS_TRAIN_SBATCH_ARGS='--ntasks=2 --gres=gpu:2'\n")

    def submit(*arguments, **environment):
        return slurm.script("pipeline_slurm.sh", *arguments, DEMUCS_MUSDB=str(tmp_path / "songs"),
                            DEMUCS_EVALUATE_JOBS="3", **environment)
    return submit


def test_pipeline(slurm, pipeline):
    signature = slurm.script("train_slurm.sh", "--signature", "7").stdout.strip()
    slurm.add_experiment(signature, "best.th")
    slurm.add_evaluation(signature)
    tested = pipeline("7", "--test-only")
    assert tested.returncode == 0 and tested.stdout.count(" to start at ") == 5, tested.stdout + tested.stderr
    planned = pipeline("7", "--dry-run")
    assert planned.stdout.count("sbatch ") == 5 and f"Signature {signature}" in planned.stdout
    assert signature not in slurm.run("squeue", "--noheader", "--format=%j").stdout and slurm.records() == []

    result = pipeline("7", TEST_SLEEP="1")
    jobs = dict(pipeline_jobs(result))
    assert list(jobs) == ["train", "release", "evaluate", "separate", "report"] and signature in result.stdout
    until_over(slurm, jobs["report"])
    release = ["-m", "tools.export", signature]
    assert [record["argv"] for record in slurm.records(jobs["train"])] == [slurm.training(7)] * 2
    assert [record["argv"] for record in slurm.records(jobs["release"])] == [release]
    scored = [record for record in slurm.records() if "tools.test_pretrained" in record["argv"]
              and "--collect" not in record["argv"]]
    assert sorted(record["env"]["SLURM_ARRAY_TASK_ID"] for record in scored) == ["0", "1", "2"]
    (separated,) = (record["argv"] for record in slurm.records(jobs["separate"]) if record["argv"] != release)
    assert separated[-1].endswith("/separated/songs/A song.wav")
    drawn = [record["argv"] for record in slurm.records(jobs["report"])]
    assert ["graphing_scripts/report.py", "--results", "demucs_results", signature] in drawn


def test_pipeline_whose_training_fails_leaves_nothing_in_the_queue(slurm, pipeline):
    jobs = dict(pipeline_jobs(pipeline("8", TEST_FAIL_RANK="1")))
    until_over(slurm, ",".join(jobs.values()))
    assert [state.split()[0] for state in wait(slurm, jobs["train"], jobs["release"], jobs["report"])] == [
        "FAILED", "CANCELLED", "CANCELLED"]
    assert len(slurm.records()) == 2


def test_sweep_ends_in_one_comparison(slurm, pipeline):
    arguments = ("9", "seed=1", "--seeds", "42,43", "--with", "optim.lr=1e-4", "comment=a  'b'")
    signatures = re.findall("Signature ([0-9a-f]{8})", pipeline(*arguments, "--dry-run").stdout)
    assert len(set(signatures)) == 3
    for signature in (signatures[0], signatures[2]):      # the second leaves nothing that could be released
        slurm.add_experiment(signature, "best.th")
        slurm.add_evaluation(signature)
    jobs = pipeline_jobs(pipeline(*arguments))
    assert len(jobs) == 3 * 4 + 1
    until_over(slurm, jobs[-1][1], patience=90)
    trained = [record["argv"] for record in slurm.records() if "dora" in record["argv"]]
    assert len(trained) == 3 * 2
    assert trained.count(slurm.training(9, "seed=1", "optim.lr=1e-4", "comment=a  'b'")) == 2
    drawn = [record["argv"][3:] for record in slurm.records(jobs[-1][1]) if "graphing_scripts/report.py" in record["argv"]]
    assert sorted(drawn) == sorted([signatures[:1], signatures[2:], [signatures[0], signatures[2]]])
    assert f"No evaluation of {signatures[1]}: it is left out" in log_of(slurm, jobs[-1][1])
    assert wait(slurm, jobs[-1][1])[0].startswith("FAILED")      # the comparison is there, and not complete


def test_a_plain_sweep(slurm, pipeline):
    jobs = pipeline_jobs(pipeline("--plain", "9", "model=htdemucs", "--seeds", "42,43", TEST_FAIL_RANK="1"))
    until_over(slurm, jobs[-1][1], patience=90)
    trained = [record["argv"] for record in slurm.records() if "dora" in record["argv"]]
    assert sorted(trained) == [["-m", "dora", "run", "-d", "epochs=9", "model=htdemucs", f"seed={seed}"]
                               for seed in (42, 42, 43, 43)]


def test_cluster_starts_twice_stops_twice_and_leaves_no_process(checkout):
    folder = Path(tempfile.mkdtemp(prefix="slurm-tests-", dir="/tmp"))
    environment = {"DEMUCS_SLURM_DIR": str(folder), "DEMUCS_SLURM_CPUS": "2", "PATH": os.environ["PATH"]}
    command = (REPOSITORY / "slurm_scripts" / "local_cluster.sh",)
    try:
        assert checkout.run(*command, "status", **environment).returncode == 1
        first = checkout.run(*command, "start", **environment)
        assert first.returncode == 0 and "there is no authentication" in first.stderr
        assert "already running" in checkout.run(*command, "start", **environment).stderr
        status = checkout.run(*command, "status", **environment)
        assert status.returncode == 0 and status.stdout.count("idle 2 CPUs gpu:8") == 2
        exports = checkout.run(*command, "env", **environment).stdout
        assert f"SLURM_CONF={folder}/slurm.conf" in exports

        # A job that does not care for signals, and a program with a space in its name, which Slurm does not find.
        (checkout.root / "odd name").symlink_to(shutil.which("sleep"))
        script = checkout.root / "stubborn.sh"
        script.write_text("#!/bin/bash\ntrap '' TERM\nsrun bash -c 'trap \"\" TERM; \"./odd name\" 300'\nsleep 300\n")
        job = job_id(checkout.run("sbatch", script, SLURM_CONF=f"{folder}/slurm.conf"))
        deadline = time.monotonic() + PATIENCE
        while not any("./odd name" in line for line in processes_of(folder)):
            if time.monotonic() > deadline:
                pytest.fail("waited in vain")
            time.sleep(0.1)
        assert checkout.run(*command, "stop", **environment).returncode == 0
        assert processes_of(folder) == []
        assert checkout.run(*command, "stop", **environment).returncode == 0

        checkout.run(*command, "start", **environment)   # the ids of jobs, and so the names of logs, go on
        assert int(job_id(checkout.run("sbatch", "--wrap=true", SLURM_CONF=f"{folder}/slurm.conf"))) > int(job)
    finally:
        checkout.run(*command, "stop", **environment)
        shutil.rmtree(folder)
    assert processes_of(folder) == []


def test_a_cluster_ends_with_its_owner_also_where_that_is_killed(checkout):
    """The owner stays a zombie here, as where nobody waits for it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-tests-", dir="/tmp"))
    owner = subprocess.Popen(["sleep", "infinity"])
    environment = {"DEMUCS_SLURM_DIR": str(folder), "DEMUCS_SLURM_CPUS": "2", "PATH": os.environ["PATH"]}
    command = (REPOSITORY / "slurm_scripts" / "local_cluster.sh",)
    try:
        wrong = checkout.run(*command, "start", **environment, DEMUCS_SLURM_OWNER="me")
        assert wrong.returncode == 1 and "not 'me'" in wrong.stderr and processes_of(folder) == []
        started = checkout.run(*command, "start", **environment, DEMUCS_SLURM_OWNER=str(owner.pid))
        assert started.returncode == 0, started.stderr
        job_id(checkout.run("sbatch", "--output=/dev/null", "--wrap=sleep 300", SLURM_CONF=f"{folder}/slurm.conf"))
        assert checkout.run(*command, "status", **environment).returncode == 0
        owner.kill()
        for _ in range(600):
            if not processes_of(folder):
                break
            time.sleep(0.5)
        assert processes_of(folder) == []
    finally:
        owner.kill()
        owner.wait()
        checkout.run(*command, "stop", **environment)
        shutil.rmtree(folder)


def test_clusters_of_tests_end_with_them(cluster):
    assert (Path(cluster["DEMUCS_SLURM_DIR"]) / "owner").read_text().split()[0] == str(os.getpid())


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that belong to the cluster in `folder`: daemons, and whatever its jobs started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
            if str(folder).encode() in line or str(folder).encode() in (process / "environ").read_bytes():
                found.append(line.replace(b"\0", b" ").decode())
        except OSError:
            continue   # it has ended meanwhile
    return found
