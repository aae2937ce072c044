"""Queries and commands to Slurm about the job of this process.

Every command has a timeout, since commands hang for minutes when the controller is down. This module does not import
torch.
"""

import os
import platform
import re
import shutil
import subprocess
import time
import typing as tp

from ..ranges import COUNT, from_environment
from .lock import this_job

PATIENCE = 60.         # timeout of one command in seconds
TRIES = 20             # attempts of commands that must succeed; the controller may be down for a while


def call(*command: str, patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    """Result of a command of Slurm, run to its end. Raises OSError if it is missing, TimeoutExpired after `patience`
    seconds."""
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=patience,
                          stdin=subprocess.DEVNULL)


def ask(*command: str, patience: float = PATIENCE) -> tp.Optional[str]:
    """Standard output of a command of Slurm; None if it fails, takes more than `patience` seconds, or is missing."""
    try:
        done = call(*command, patience=patience)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def fields(record: str) -> tp.Dict[str, str]:
    """Fields {name: value} of a record printed by `scontrol --oneliner`. Of fields with the same name, the first
    counts. Values with spaces are cut at the first."""
    return dict(word.partition("=")[::2] for word in reversed(record.split()))


def job_fields(*, tries: int = TRIES) -> tp.Dict[str, str]:
    """Fields of Slurm's record of this job; empty if none of `tries` attempts gets an answer."""
    for attempt in range(tries):
        record = ask("scontrol", "show", "job", "--oneliner", str(this_job()), patience=30)
        if record is not None:
            return fields(record)
        if shutil.which("scontrol") is None:
            break
        if attempt < tries - 1:
            time.sleep(5)
    return {}


def preempted(*, tries: int = TRIES) -> bool:
    """Whether Slurm preempts this job. Preemption sends SIGTERM, as scancel does, and Slurm requeues the job only if it
    is still running at the end of the grace time. False without an answer in `tries` attempts."""
    return job_fields(tries=tries).get("PreemptTime", "")[:1].isdigit()


def put_back() -> bool:
    """Requeue this job, which ends it soon after. Returns whether Slurm has accepted that."""
    for _ in range(TRIES):
        try:
            if subprocess.run(["scontrol", "requeue", str(this_job())], timeout=PATIENCE).returncode == 0:
                return True
        except subprocess.TimeoutExpired:
            pass
        time.sleep(10)
    return False


def can_end_steps() -> bool:
    """Whether this node has the programs that a job needs to end its own steps."""
    return shutil.which("squeue") is not None and shutil.which("scancel") is not None


def steps_in(listed: tp.Optional[str]) -> tp.List[str]:
    """Ids of the job steps that srun has started, in `listed`, the output of squeue; empty for None."""
    return [line for line in (listed or "").split() if re.search(r"[.]\d+$", line)]


def nodes_of_job() -> tp.List[str]:
    """Names of the nodes of this job, in their order; empty if unknown."""
    return (ask("scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")) or "").split()


def first_node() -> str:
    """Address of the node of rank 0, as Slurm itself uses it. The name of the node need not resolve."""
    node = os.environ.get("SLURMD_NODENAME") or platform.node()      # the batch script runs on the first node
    node = next(iter(nodes_of_job()), node)
    return fields(ask("scontrol", "show", "node", "--oneliner", node) or "").get("NodeAddr") or node


def lends_ports() -> bool:
    """Whether this Slurm can reserve ports for a step. Only the tasks of the step know their port."""
    return re.search(r"MpiParams *=.*ports=", ask("scontrol", "show", "config") or "") is not None


def gpus_of_job() -> int:
    """Number of GPUs of this job: those on this node times the number of nodes."""
    return from_environment("SLURM_GPUS_ON_NODE", 0, COUNT) * from_environment("SLURM_NNODES", 1, COUNT)
