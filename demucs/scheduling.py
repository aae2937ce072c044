"""Jobs that Dora submits (`dora launch`, `dora grid`) behave as those of the batch scripts.

Dora hands them to submitit, whose own handler of SIGUSR2 puts a job back into the queue at once. While a run trains it
listens to that signal itself, saves, and stops; only then submitit gets it.
"""

import dataclasses
import logging
import os
import re
import signal
import subprocess
import typing as tp

from dora.conf import SlurmConfig
from dora.distrib import set_distrib_env

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class SlurmSettings(SlurmConfig):
    """Dora's settings of a job, and how many seconds before its time limit it is warned."""
    signal_delay_s: int = 300


def prepare_processes() -> None:
    """Set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, where the starter has not: for jobs of submitit, and
    the port for processes that `dora run -d` started."""
    job = os.environ.get("SLURM_JOB_ID")
    if job:            # as the batch scripts do, below the ports that systems lend to clients
        os.environ.setdefault("MASTER_PORT", str(10000 + int(job) % 22000))
    set_distrib_env()


def put_back(reason: str) -> None:
    """Of a run that has saved its state and stopped by the signal `reason`: back into the queue with its job, if submitit
    runs it and it shall go on. Then this call ends the process."""
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm" or not callable(signal.getsignal(signal.SIGUSR2)):
        return
    if reason == "SIGUSR2" or _preempted():
        logger.info("Back into the queue")
        signal.raise_signal(signal.SIGUSR2)      # submitit's handler, which is in place again


def _preempted() -> bool:
    """Whether Slurm wants this job's nodes for another: it asks by SIGTERM, as scancel does."""
    try:
        record = subprocess.run(["scontrol", "show", "job", "--oneliner", os.environ["SLURM_JOB_ID"]],
                                capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(r"\bPreemptTime=\d", record) is not None
