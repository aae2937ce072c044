"""What Slurm is asked and told about the job that this process belongs to.

Every command has a time limit, since commands hang for minutes when their controller is gone. No torch here.
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

PATIENCE = 60.         # seconds for one answer
TRIES = 20             # of what must be known or done; the controller may be away for a while


def call(*command: str, patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    """A command of Slurm, run to its end. Raises OSError where it is not there, TimeoutExpired where it does not end."""
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=patience,
                          stdin=subprocess.DEVNULL)


def ask(*command: str, patience: float = PATIENCE) -> tp.Optional[str]:
    """What a command of Slurm prints; None where it fails, does not end in time, or is not there."""
    try:
        done = call(*command, patience=patience)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def fields(record: str) -> tp.Dict[str, str]:
    """The fields of a record that `scontrol --oneliner` prints; of those with the same name the first."""
    return dict(word.partition("=")[::2] for word in reversed(record.split()))


def job_fields(*, tries: int = TRIES) -> tp.Dict[str, str]:
    """The record of this job; empty where there is no answer in all of the tries."""
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
    """Whether Slurm wants this job's nodes for another. It asks by SIGTERM, as scancel does, and puts the job back into the
    queue only if it is still there in the end."""
    return job_fields(tries=tries).get("PreemptTime", "")[:1].isdigit()


def put_back() -> bool:
    """Put this job back into the queue, which ends it soon after. False where Slurm would not."""
    for _ in range(TRIES):
        try:
            if subprocess.run(["scontrol", "requeue", str(this_job())], timeout=PATIENCE).returncode == 0:
                return True
        except subprocess.TimeoutExpired:
            pass
        time.sleep(10)
    return False


def can_end_steps() -> bool:
    """Whether this node has the programs by which a job ends its own steps."""
    return shutil.which("squeue") is not None and shutil.which("scancel") is not None


def steps_in(listed: tp.Optional[str]) -> tp.List[str]:
    """Those steps that srun has started, of what squeue lists."""
    return [line for line in (listed or "").split() if re.search(r"[.]\d+$", line)]


def nodes_of_job() -> tp.List[str]:
    """Names of the nodes of this job, in their order; empty where they cannot be told."""
    return (ask("scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")) or "").split()


def first_node() -> str:
    """Address of the node of rank 0: the one Slurm itself uses, which need not be a name that resolves."""
    node = os.environ.get("SLURMD_NODENAME") or platform.node()      # the batch script runs on the first node
    node = next(iter(nodes_of_job()), node)
    return fields(ask("scontrol", "show", "node", "--oneliner", node) or "").get("NodeAddr") or node


def lends_ports() -> bool:
    """Whether this Slurm reserves ports for steps, which no other step then gets. The port is known to the tasks only."""
    return re.search(r"MpiParams *=.*ports=", ask("scontrol", "show", "config") or "") is not None


def gpus_of_job() -> int:
    return from_environment("SLURM_GPUS_ON_NODE", 0, COUNT) * from_environment("SLURM_NNODES", 1, COUNT)
