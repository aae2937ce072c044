"""A small checkout with the real batch scripts, and a substitute for Python that only records its calls.

Queries of the scripts are answered: signatures are artificial, and `tools.launch`, which starts and ends the tasks, is
the real one.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import REPOSITORY, require_program
from training.small import write_songs

RECORDER = """#!{python} -S
import hashlib, json, os, signal, sys, time
if sys.argv[1:4] == ["-S", "-m", "tools.launch"]:      # needs no packages
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], dict(os.environ, PYTHONPATH={repository!r}))
if sys.argv[1:3] == ["-m", "tools.signature"]:
    if "TEST_NO_PACKAGES" in os.environ:
        sys.exit(int(os.environ["TEST_NO_PACKAGES"]))
    if "TEST_REFUSE" in os.environ:
        sys.exit("error: refused, in " + os.environ.get("DEMUCS_CHECK_RANKS", "?") + " ranks")
    print(hashlib.sha1(repr([word for word in sys.argv[3:] if word != "--again"]).encode()).hexdigest()[:8])
    if "TEST_SONGS" in os.environ and "DEMUCS_CHECK_RANKS" in os.environ:
        print(os.environ["TEST_SONGS"])
    sys.exit()
if sys.argv[1:3] == ["-m", "tools.extend"]:
    print("eeeeeeee")
record = dict(argv=sys.argv[1:], cwd=os.getcwd(), env=dict(os.environ))
name = "-".join(os.environ.get(key, "x") for key in ("SLURM_JOB_ID", "RANK")) + f"-{{os.getpid()}}"
with open(os.path.join({folder!r}, name + ".tmp"), "w") as file:
    json.dump(record, file)
os.rename(file.name, os.path.join({folder!r}, name + ".json"))
if "TEST_EXPORTS" in os.environ and "tools.export" in sys.argv:
    os.makedirs(os.path.join(os.environ["TEST_EXPORTS"], "release_models"), exist_ok=True)
    open(os.path.join(os.environ["TEST_EXPORTS"], "release_models", sys.argv[-1] + ".th"), "w").close()
if os.environ.get("TEST_FAIL_RANK", "none") == os.environ.get("RANK"):
    sys.exit(3)
if os.environ.get("TEST_FAIL_MODULE", "none") in sys.argv:
    sys.exit(3)
if "--collect" in sys.argv:
    sys.exit("not evaluated")
time.sleep(float(os.environ.get("TEST_SLEEP", "0")))
if "TEST_TRAINER" in os.environ and "dora" in sys.argv:
    sys.path.insert(0, {repository!r})
    exec(open(os.environ["TEST_TRAINER"]).read())
"""


class Checkout:
    """The scripts in a folder of their own, with experiments 11111111 (trained) and 22222222 (without weights)."""

    # Dora signature 162f67a7 with epochs=180: the settings of 759c9a58 in ../shared/reference/signatures.json, with
    # other epochs and test.every.
    SETTINGS = ("test.every=100", "batch_size=32", "hdemucs.norm_starts=100", "hdemucs.cac=False", "test.split=True",
                "valid_apply=True", "model=hdemucs", "hdemucs.dconv_lstm=4", "ema.epoch=[0.9,0.95]",
                "ema.batch=[0.9995,0.9999]", "seed=42", "hdemucs.hybrid_old=True", "svd=base", "svd.penalty=1e-05",
                "svd.dim=80", "svd.convtr=True", "optim.lr=0.0003")

    def __init__(self, root: Path):
        self.root = root / "dir with space" / "it's a repository"
        self.records_folder = root / "records"
        self.records_folder.mkdir()
        self.root.mkdir(parents=True)
        shutil.copytree(REPOSITORY / "slurm_scripts", self.root / "slurm_scripts", symlinks=True,
                        ignore=shutil.ignore_patterns("*.out", "cluster.env"))
        (self.root / "slurm_out").mkdir()
        self.add_experiment("11111111", "best.th", "checkpoint.th")
        self.add_experiment("22222222")
        self.python = root / "recorder"
        self.python.write_text(RECORDER.format(
            python=sys.executable, folder=str(self.records_folder), repository=str(REPOSITORY)))
        self.python.chmod(0o755)
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith(("SLURM_", "SBATCH_", "DEMUCS_", "CUDA_VISIBLE"))
                            and key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
        self.environment["DEMUCS_PYTHON"] = str(self.python)

    def add_experiment(self, signature: str, *weights: str) -> Path:
        folder = self.root / "outputs" / "xps" / signature
        folder.mkdir(parents=True)
        (folder / ".argv.json").write_text("[]")
        for name in weights:
            (folder / name).write_bytes(b"weights")
        return folder

    def add_evaluation(self, signature: str) -> None:
        folder = self.root / "demucs_results" / "runs" / signature
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text("{}")

    def run(self, *command, cwd=None, **environment) -> subprocess.CompletedProcess:
        return subprocess.run([str(part) for part in command], cwd=cwd or self.root, text=True, timeout=600,
                              env={**self.environment, **environment}, capture_output=True)

    def script(self, name: str, *arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
        return self.run("bash", self.root / "slurm_scripts" / name, *arguments, cwd=cwd, **environment)

    def training(self, epochs: int, *overrides: str) -> list[str]:
        """What Python is to be called with by train_slurm.sh."""
        return ["-m", "dora", "run", "-d", f"epochs={epochs}", *self.SETTINGS, *overrides]

    def records(self, job: str = "") -> list[dict]:
        """What each Python process saw, ordered by rank."""
        found = [json.loads(path.read_text()) for path in self.records_folder.glob(f"{job}*.json")]
        return sorted(found, key=lambda record: int(record["env"].get("RANK", -1)))


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


# What the scripts call, apart from Slurm. A PATH of these only is a machine without it.
PROGRAMS = ("basename", "bash", "cat", "cut", "date", "dirname", "env", "git", "grep", "head", "hostname", "ln", "mkdir",
            "readlink", "realpath", "sleep", "sort", "stat", "tail", "tee", "timeout")


@pytest.fixture
def no_slurm(checkout, tmp_path):
    """The same checkout on a machine without Slurm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in PROGRAMS:
        (folder / program).symlink_to(require_program(program))
    checkout.environment["PATH"] = str(folder)
    return checkout


@contextlib.contextmanager
def private_cluster(**settings):
    """Environment of a private Slurm of these tests, in a folder of its own."""
    os.environ["PATH"] += ":/usr/sbin"   # where the daemons are, and ordinary users do not look
    for program in ("slurmctld", "slurmd", "sbatch"):
        require_program(program)
    folder = tempfile.mkdtemp(prefix="slurm-tests-", dir="/tmp")   # sockets need a short path
    environment = {**os.environ, "DEMUCS_SLURM_DIR": folder, "DEMUCS_SLURM_CPUS": "96",
                   "DEMUCS_SLURM_KILL_WAIT": "30",                 # Slurm's own default
                   "DEMUCS_SLURM_OWNER": str(os.getpid()), **settings}
    command = [str(REPOSITORY / "slurm_scripts" / "local_cluster.sh")]
    subprocess.run(command + ["start"], env=environment, check=True, timeout=300)
    try:
        yield {"SLURM_CONF": f"{folder}/slurm.conf", "DEMUCS_SLURM_DIR": folder}
    finally:
        subprocess.run(command + ["stop"], env=environment, check=True, timeout=300)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster():
    with private_cluster() as environment:
        yield environment


@pytest.fixture
def cluster_with_ports():
    """One that reserves ports for steps."""
    with private_cluster(DEMUCS_SLURM_PORTS="12000-12999") as environment:
        yield environment


@pytest.fixture
def real(checkout, cluster, tmp_path):
    """The checkout with the real package behind its scripts, and five short songs."""
    for name in ("demucs", "conf", "tools", "graphing_scripts"):
        (checkout.root / name).symlink_to(REPOSITORY / name)
    (checkout.root / "demucs_results").mkdir()
    (checkout.root / "demucs_results" / "published_baselines.csv").symlink_to(
        REPOSITORY / "demucs_results" / "published_baselines.csv")
    for folder in (checkout.root / "outputs" / "xps").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    songs = write_songs(tmp_path / "songs of mine")
    # One thread each: scripts give an evaluation all CPUs of its task, eight threads on what may be two cores.
    checkout.environment.update(cluster, DEMUCS_PYTHON=sys.executable, DEMUCS_MUSDB=str(songs), DEMUCS_DEVICE="cpu",
                                OMP_NUM_THREADS="1")
    checkout.songs = songs
    return checkout
