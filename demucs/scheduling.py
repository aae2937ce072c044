"""Jobs that Dora submits (`dora launch`, `dora grid`) behave as those of the batch scripts.

Dora hands them to submitit, whose script sources slurm_scripts/grid_setup.sh before it calls srun. There the job gets
the same account of its starts (runs/requeue.py) and the same end of a step whose task has died: a job that was warned,
preempted or has lost a task goes back into the queue after progress, a few times without, and `scancel` ends it for
good. `python3 -m demucs.scheduling FOLDER` tells that script which experiment the job trains.

What differs from the batch scripts: a job is named demucs_SIG and waits for no other of its name (that one experiment
is trained by one job at a time is seen to by its lock, and by the account, which refuses the second); there is no
chain for nodes without scontrol; an array holds several experiments, each with its own account; the code is that of
the repository when the job starts, unless Dora's git_save is on. submitit's own limit (slurm.max_num_timeout) counts
only where the script cannot tell the experiment, and for a warning that comes before the run listens to signals.
"""

import dataclasses
import logging
import os
import pickle
import re
import signal
import sys
import typing as tp
from pathlib import Path

from dora.conf import SlurmConfig
from dora.distrib import set_distrib_env
from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission

from .ranges import COUNT, from_environment
from .runs import slurm

logger = logging.getLogger(__name__)

SUPERVISED = "DEMUCS_SUPERVISED"      # set where the script of a job decides whether it goes on


@dataclasses.dataclass
class SlurmSettings(SlurmConfig):
    """Dora's settings of a job, and how many seconds before its time limit it is warned."""
    signal_delay_s: int = 300


def prepare_processes() -> None:
    """Set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, where the starter has not: for jobs of submitit,
    and the port for processes that `dora run -d` started. A port that Slurm has reserved for the step goes first."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_STEP_RESV_PORTS" in os.environ:
        os.environ["MASTER_PORT"] = re.split("[-,]", os.environ["SLURM_STEP_RESV_PORTS"])[0]
    elif job:          # as the batch scripts do, below the ports that systems lend to clients
        os.environ.setdefault("MASTER_PORT", str(10000 + from_environment("SLURM_JOB_ID", 0, COUNT) % 22000))
    set_distrib_env()
    if "SLURM_PROCID" in os.environ:       # of a job with one task Dora sets the rank alone
        os.environ.setdefault("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))


def put_back(reason: str) -> None:
    """Of a run that has saved its state and stopped by the signal `reason`: back into the queue with its job, if submitit
    runs it, it shall go on, and its script does not see to that. Then this call ends the process."""
    if SUPERVISED in os.environ or os.environ.get("SUBMITIT_EXECUTOR") != "slurm" \
            or not callable(signal.getsignal(signal.SIGUSR2)):
        return
    if reason == "SIGUSR2" or slurm.preempted(tries=1):
        logger.info("Back into the queue")
        signal.raise_signal(signal.SIGUSR2)      # submitit's handler, which is in place again


def experiment_of_job(folder: str) -> Path:
    """Folder of the experiment that this job trains, from what submitit has written in `folder` for it."""
    os.environ["SUBMITIT_FOLDER"] = folder
    main, argv = DelayedSubmission.load(JobEnvironment().paths.submitted_pickle).args[:2]
    return tp.cast(Path, pickle.loads(main).get_xp(argv).folder)


if __name__ == "__main__":
    print(experiment_of_job(sys.argv[1]).resolve())
