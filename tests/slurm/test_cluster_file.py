"""Settings of a cluster: a file that is applied completely or not at all, and a conda environment."""

import os
import shlex
import subprocess
import sys

import pytest
from conftest import REPOSITORY, require_program

pytestmark = pytest.mark.runs

SUBMITTED = """#!/bin/bash
printf '%s\\n' "$@" > {folder}/words
env -0 > {folder}/environment
echo 'Submitted batch job 1'
"""


@pytest.fixture
def login_node(no_slurm, tmp_path):
    """The checkout where sbatch writes down how it was called."""
    folder = tmp_path / "submitted"
    folder.mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(SUBMITTED.format(folder=shlex.quote(str(folder))))
    sbatch.chmod(0o755)
    no_slurm.submitted = folder
    no_slurm.cluster_file = no_slurm.root / "slurm_scripts" / "cluster.env"
    return no_slurm


def environment_of_job(checkout):
    entries = (checkout.submitted / "environment").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


FAULTS = {
    "open quote": (b'export SBATCH_ACCOUNT="a\nexport SBATCH_PARTITION=b\n', "unexpected EOF while looking for matching"),
    "open brace": (b"cluster_setup() {\n    true\n", "unexpected end of file"),
    "open here document": (b"export A=$(cat <<END\nx\n)\n", "here-document"),
    "Windows": (b"export SBATCH_ACCOUNT=a\r\n", "CRLF): sed -i"),
    "byte order mark": (b"\xef\xbb\xbfexport SBATCH_ACCOUNT=a\n", "byte order mark"),
    "UTF-16": ("export SBATCH_ACCOUNT=a\n".encode("utf-16"), "cluster.env"),
    "spaces": (b"SBATCH_ACCOUNT = a\n", "line 1 failed with status 127: SBATCH_ACCOUNT = a"),
    "spaces after export": (b"export SBATCH_ACCOUNT = a\n", "line 1 failed with status 1"),
    "options without quotes": (b"DEMUCS_SBATCH_ARGS=--exclude=n1 --mail-type=FAIL\n", "--mail-type=FAIL; correct it"),
    "failing command": (b"true\nfalse\nexport SBATCH_ACCOUNT=a\n", "line 2 failed with status 1: false"),
    "failing file": (b"source /nowhere/modules.sh\n", "line 1 failed with status 1: source /nowhere/modules.sh"),
    "failing module": (b"module() { return 1; }\n    module load cuda # 12\n",
                       "failed with status 1: module load cuda # 12"),
    "failing assignment": (b"DEMUCS_MUSDB=$(cat /nowhere)\n", "failed with status 1: DEMUCS_MUSDB=$(cat /nowhere)"),
    "failing export": (b"export SBATCH_ACCOUNT=$(cat /nowhere)\n", "leaves SBATCH_ACCOUNT empty"),
    "quotes that meet": (b'export SBATCH_ACCOUNT="a\nexport SBATCH_PARTITION="b\n', "several lines: close its quote"),
    "exit": (b"exit 3\n", "ends the script, by exit"),
    "exit as if all were well": (b"exit 0\n", "ends the script, by exit"),
    "return": (b"return 3\nexport SBATCH_ACCOUNT=a\n", "it returned 3"),
    "set -u": (b"set -u\nexport SBATCH_ACCOUNT=$UNKNOWN\n", "option such as set -u"),
    "bad substitution": (b"true\nSBATCH_ACCOUNT=${SBA\\x:-a}\nexport SBATCH_PARTITION=b\n", "line 2 has a ${...} that bash cannot"),
    "empty substitution": (b"SBATCH_ACCOUNT=a${}\n", "line 1 has a ${...} that bash cannot"),
    "long line": (b"false " + 300 * b"x" + b"\n", f"status 1: false {194 * 'x'}...; correct it"),
    "readonly": (b"readonly SBATCH_ACCOUNT=a\n", "makes SBATCH_ACCOUNT read-only"),
    "declare -r": (b"declare -r DEMUCS_MUSDB=/data\n", "makes DEMUCS_MUSDB read-only"),
    "set -e": (b"set -e\nfalse\n", "line 2 failed with status 1: false"),
}


@pytest.mark.parametrize("script, argument, fault", [
    *(("train_slurm.sh", "5", fault) for fault in FAULTS),
    *((script, argument, fault) for fault in ("open quote", "failing command", "exit as if all were well")
      for script, argument in (("pipeline_slurm.sh", "5"), ("slurm_release.sh", "11111111")))])
def test_a_fault_in_the_cluster_file_is_told_and_nothing_submitted(login_node, script, argument, fault):
    text, message = FAULTS[fault]
    login_node.cluster_file.write_bytes(text)
    result = login_node.script(script, argument)
    assert result.returncode == 2, result.stdout + result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{script}: {login_node.cluster_file}") and message in last
    assert list(login_node.submitted.iterdir()) == [] and login_node.records() == []


def test_what_the_cluster_file_may_be(login_node, tmp_path):
    login_node.cluster_file.mkdir()
    folder = login_node.script("train_slurm.sh", "5")
    login_node.cluster_file.rmdir()
    login_node.cluster_file.symlink_to(tmp_path / "gone")
    gone = login_node.script("train_slurm.sh", "5")
    login_node.cluster_file.unlink()
    chosen = login_node.script("train_slurm.sh", "5", DEMUCS_CLUSTER=str(tmp_path))
    absent = login_node.script("train_slurm.sh", "5", DEMUCS_CLUSTER="nowhere")
    for result in (folder, gone, chosen, absent):
        assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    for result in (folder, gone, chosen):
        assert "cannot be read: it must be a file that you may read" in result.stderr
    assert "DEMUCS_CLUSTER names no file: nowhere" in absent.stderr
    assert list(login_node.submitted.iterdir()) == []


def test_settings_count_however_they_are_written(login_node, tmp_path):
    login_node.cluster_file.write_text(
        f"SBATCH_ACCOUNT=plain\ndeclare SBATCH_PARTITION='two words'\nDEMUCS_MUSDB={tmp_path}\nNCCL_DEBUG=INFO\n"
        "DEMUCS_SBATCH_ARGS+=' --exclude=n1'\ndeclare DEMUCS_TRAIN_SBATCH_ARGS=--mem=4\n")
    result = login_node.script("train_slurm.sh", "5")
    assert result.returncode == 0, result.stderr
    seen = environment_of_job(login_node)
    assert (seen["SBATCH_ACCOUNT"], seen["SBATCH_PARTITION"]) == ("plain", "two words")
    assert (seen["DEMUCS_MUSDB"], seen["NCCL_DEBUG"]) == (str(tmp_path), "INFO")
    assert "DEMUCS_SBATCH_ARGS" not in seen, "the job reads the file again, and would add to it again"
    words = (login_node.submitted / "words").read_text().splitlines()
    assert words.count("--exclude=n1") == 1 and words.count("--mem=4") == 1


def test_what_the_cluster_file_does_besides_has_no_effect_on_the_script(login_node):
    """Output that is taken for a signature, options, another folder, a condition that is its last line."""
    login_node.cluster_file.write_text(
        "echo welcome\nname=other scripts=/tmp mode=here repository=/tmp\n# ${no name}\nA=x C='${a b}'\n"
        'B="\\${ok }${A:-x}${#A}${A[0]}${A//x/y}${A%%:*}${1:-}${@}${A@Q}${A,,}${BASH_SOURCE[0]}"\n'
        "set -fx\nset +o pipefail\nset +x\nIFS=:\ncd /\ncluster_setup() { echo modules; }\n"
        "[[ -d /nowhere ]] && export SBATCH_ACCOUNT=a\n")
    asked = login_node.script("train_slurm.sh", "--signature", "5")
    assert asked.returncode == 0 and len(asked.stdout) == 9 and "welcome" in asked.stderr
    result = login_node.script("train_slurm.sh", "5", "--local")
    assert result.returncode == 0 and "modules" in result.stderr + result.stdout, result.stderr
    assert login_node.records()[0]["argv"] == login_node.training(5)


def test_modules_that_do_not_load_end_the_job(login_node):
    login_node.cluster_file.write_text("cluster_setup() {\n    module load cuda\n    module load gcc || true\n}\n")
    result = login_node.script("train_slurm.sh", "5", "--local")
    assert result.returncode == 2 and "line 2 failed with status 127: module load cuda" in result.stderr
    login_node.cluster_file.write_text("cluster_setup() {\n    ! true\n    [[ -d /nowhere ]] && true\n}\n")
    assert login_node.script("train_slurm.sh", "5", "--local").returncode == 0


# ------------------------------------------------------------------------------------------------------------ conda

CONDA = """#!/bin/bash
[[ "$1 $2" == 'info --base' ]] || { echo "CondaError: Run 'conda init' before 'conda $1'" >&2; exit 1; }
cd "$(dirname "$0")/.." && pwd
"""
# As conda does: written without care for unset variables, and talkative.
CONDA_FUNCTION = """
conda() {
    [[ -z $UNSET_BY_CONDA ]] || return
    [[ "$1" == activate ]] || { command conda "$@"; return; }
    local folder=$(dirname "$(dirname "${BASH_SOURCE[0]}")")/../envs/$2
    [[ -d $folder ]] || { printf 'EnvironmentNameNotFound: no environment\\n%s\\n' "$2" >&2; return 1; }
    echo 'activating'
    export CONDA_PREFIX=$folder CONDA_DEFAULT_ENV=$2 PATH=$folder/bin:$PATH
}
"""


@pytest.fixture
def with_conda(login_node, tmp_path):
    """A stand-in for conda beside a base Python without packages; its environment `demucs` holds the recorder."""
    base = tmp_path / "conda"
    for folder in ("bin", "etc/profile.d", "envs/demucs/bin"):
        (base / folder).mkdir(parents=True)
    (base / "bin" / "conda").write_text(CONDA)
    (base / "bin" / "conda").chmod(0o755)
    (base / "etc/profile.d/conda.sh").write_text(CONDA_FUNCTION)
    (base / "envs/demucs/bin/python").symlink_to(login_node.python)
    for name in ("python", "python3"):
        (tmp_path / "bin" / name).write_text("#!/bin/bash\nexit 3\n")
        (tmp_path / "bin" / name).chmod(0o755)
    login_node.cluster_file.write_text("DEMUCS_CONDA_ENV=demucs\n")
    login_node.environment = {key: value for key, value in login_node.environment.items()
                              if not key.startswith("CONDA") and key != "DEMUCS_PYTHON"}
    login_node.environment["PATH"] += f":{base}/bin"
    login_node.conda = base
    return login_node


@pytest.mark.parametrize("base_python", [True, False])
def test_submitting_without_an_active_environment(with_conda, tmp_path, base_python):
    """The README's way: nothing is activated, and there is a base Python, or none."""
    if not base_python:
        for name in ("python", "python3"):
            (tmp_path / "bin" / name).unlink()
    result = with_conda.script("train_slurm.sh", "5")
    assert result.returncode == 0, result.stderr
    signature = with_conda.script("train_slurm.sh", "--signature", "5").stdout.strip()
    words = (with_conda.submitted / "words").read_text().splitlines()
    assert len(signature) == 8 and f"--job-name={signature}" in words
    pipeline = with_conda.script("pipeline_slurm.sh", "--dry-run", "5")
    assert pipeline.returncode == 0 and f"--job-name={signature}" in pipeline.stdout, pipeline.stderr
    here = with_conda.script("train_slurm.sh", "--local", "5")
    assert here.returncode == 0, here.stderr
    assert with_conda.records()[0]["env"]["CONDA_DEFAULT_ENV"] == "demucs"


def test_conda_that_only_a_variable_names(with_conda):
    with_conda.environment["PATH"] = with_conda.environment["PATH"].rsplit(":", 1)[0]
    none = with_conda.script("train_slurm.sh", "5")
    assert none.returncode == 2 and none.stderr.count("\n") <= 2
    assert "no conda in PATH or CONDA_EXE here" in none.stderr and "DEMUCS_PYTHON" in none.stderr
    assert list(with_conda.submitted.iterdir()) == []
    named = with_conda.script("train_slurm.sh", "5", CONDA_EXE=str(with_conda.conda / "bin" / "conda"))
    assert named.returncode == 0, named.stderr
    # It is active already; a node may lack conda where the environment lies on a shared file system.
    folder = with_conda.conda / "envs" / "demucs"
    active = with_conda.script("train_slurm.sh", "--signature", "5", CONDA_DEFAULT_ENV="demucs", CONDA_PREFIX=str(folder),
                               PATH=f"{folder}/bin:{with_conda.environment['PATH']}")
    assert active.returncode == 0 and len(active.stdout) == 9, active.stderr


def test_conda_that_modules_bring(with_conda, tmp_path):
    """Not on the node where one submits: there the signature stays unknown."""
    path = with_conda.environment["PATH"].rsplit(":", 1)[0]
    with_conda.cluster_file.write_text(
        f"DEMUCS_CONDA_ENV=demucs\ncluster_setup() {{ PATH+=:{with_conda.conda}/bin; }}\n")
    submitted = with_conda.script("train_slurm.sh", "5", PATH=path)
    assert submitted.returncode == 0 and "known only once the job runs" in submitted.stderr, submitted.stderr
    here = with_conda.script("train_slurm.sh", "--local", "5", PATH=path)
    assert here.returncode == 0 and with_conda.records()[0]["env"]["CONDA_DEFAULT_ENV"] == "demucs", here.stderr


def test_an_environment_that_does_not_exist(with_conda):
    with_conda.cluster_file.write_text("DEMUCS_CONDA_ENV=other\n")
    for arguments in (["5"], ["5", "--local"]):
        result = with_conda.script("train_slurm.sh", *arguments)
        assert result.returncode == 2
        last = result.stderr.splitlines()[-1]
        assert "conda cannot activate DEMUCS_CONDA_ENV=other" in last and "EnvironmentNameNotFound" in last
    assert list(with_conda.submitted.iterdir()) == [] and with_conda.records() == []


# ---------------------------------------------------------------------------------------------------------- the rest

def shell_scripts():
    listed = subprocess.run(["git", "ls-files", "*.sh"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.mark.parametrize("script", shell_scripts())
def test_sh_is_told_to_be_bash(script):
    result = subprocess.run([require_program("dash"), script, "5"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"{script} is for bash, not for sh: bash {script} 5\n"


def test_bash_that_was_called_as_sh(no_slurm, tmp_path):
    (tmp_path / "bin" / "sh").symlink_to(require_program("bash"))
    result = no_slurm.run(tmp_path / "bin" / "sh", no_slurm.root / "slurm_scripts" / "train_slurm.sh", "5")
    assert result.returncode == 0, result.stderr
    assert no_slurm.records()[0]["argv"] == no_slurm.training(5)


@pytest.mark.parametrize("job, says", [
    (dict(tasks=1, nodes=1, each="1", gpus=4), "Note: 3 of 4 GPUs idle: each task uses one, and there are only 1"),
    (dict(tasks=3, nodes=2, each="2,1", gpus=2), "Note: 1 of 4 GPUs idle"),
    (dict(tasks=4, nodes=2, each="2(x2)", gpus=2), ""), (dict(tasks=2, nodes=1, each="2", gpus=None), "")])
def test_gpus_that_no_task_uses(job, says):
    code = "from demucs.runs.launch import spread_tasks; spread_tasks()"
    environment = dict(SLURM_NTASKS=str(job["tasks"]), SLURM_NNODES=str(job["nodes"]), SLURM_TASKS_PER_NODE=job["each"],
                       SLURM_JOB_CPUS_PER_NODE="1")
    if job["gpus"]:
        environment["SLURM_GPUS_ON_NODE"] = str(job["gpus"])
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env={**clean, **environment}, text=True,
                            capture_output=True)
    assert result.returncode == 0, result.stderr
    assert says in result.stdout and ("idle" in result.stdout) == bool(says)


def test_gpus_that_no_process_here_uses(no_slurm):
    few = no_slurm.script("train_slurm.sh", "5", DEMUCS_LOCAL_TASKS="1", CUDA_VISIBLE_DEVICES="0,1,2,3")
    assert few.returncode == 0 and "Note: 3 of 4 GPUs idle" in few.stdout, few.stderr
    assert "idle" not in no_slurm.script("train_slurm.sh", "5", CUDA_VISIBLE_DEVICES="0,1").stdout
