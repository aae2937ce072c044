"""Jobs that Dora submits (`dora launch`, `dora grid`), with the same supervision as those of the batch scripts.

Dora submits them through submitit, whose script sources slurm_scripts/grid_setup.sh before it calls srun. Their starts
are recorded as for the batch scripts (runs/requeue.py), and when a task has died, the others are ended. A job that
reaches its time limit, is preempted or loses a task is requeued after progress, and a few times without; `scancel` ends
it for good. `python -m demucs.scheduling FOLDER` prints the folder of the experiment that the job trains, for that
script.

Differences to the batch scripts: A job is named demucs_SIG and does not wait for other jobs of that name; instead, the
lock and the record of starts ensure that one job at a time trains an experiment, and the second one is refused. There
are no chains of jobs for nodes without scontrol. An array consists of several experiments, each with its own record of
starts. The code is that of the repository when the job starts, unless Dora's git_save is on. submitit's own limit
(slurm.max_num_timeout) applies only if the script cannot determine the experiment, and for a signal that arrives before
the run handles signals.
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

from .ranges import JOB, from_environment
from .runs import slurm

logger = logging.getLogger(__name__)

SUPERVISED = "DEMUCS_SUPERVISED"      # environment variable, set if the script of a job decides on requeueing


@dataclasses.dataclass
class SlurmSettings(SlurmConfig):
    """Dora's settings of a Slurm job, and `signal_delay_s`, the number of seconds before its time limit at which it is
    signalled."""
    signal_delay_s: int = 300


def prepare_processes() -> None:
    """Set the environment variables RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT of this process if the
    launcher has not: all of them for jobs of submitit, the port for processes of `dora run -d`. A port that Slurm has
    reserved for the step replaces that of the launcher."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_STEP_RESV_PORTS" in os.environ:
        os.environ["MASTER_PORT"] = re.split("[-,]", os.environ["SLURM_STEP_RESV_PORTS"])[0]
    elif job:          # below the ephemeral ports of operating systems, as in the batch scripts
        os.environ.setdefault("MASTER_PORT", str(10000 + from_environment("SLURM_JOB_ID", 0, JOB) % 22000))
    set_distrib_env()
    if "SLURM_PROCID" in os.environ:       # for a job with one task, Dora sets RANK but not WORLD_SIZE
        os.environ.setdefault("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))


def put_back(reason: str) -> None:
    """Requeue the job of a run that has saved its state and stopped by the signal `reason`, and end this process. Does
    nothing unless the job is run by submitit and not requeued by its script, and the signal was SIGUSR2 (time limit) or
    Slurm preempts the job."""
    if SUPERVISED in os.environ or os.environ.get("SUBMITIT_EXECUTOR") != "slurm" \
            or not callable(signal.getsignal(signal.SIGUSR2)):
        return
    if reason == "SIGUSR2" or slurm.preempted(tries=1):
        logger.info("Back into the queue")
        signal.raise_signal(signal.SIGUSR2)      # calls submitit's handler, which is restored by now


def experiment_of_job(folder: str) -> Path:
    """Folder of the experiment that this job trains, from the files that submitit has written to `folder`. These files
    are unpickled, so they must be trusted."""
    os.environ["SUBMITIT_FOLDER"] = folder
    main, argv = DelayedSubmission.load(JobEnvironment().paths.submitted_pickle).args[:2]
    return tp.cast(Path, pickle.loads(main).get_xp(argv).folder)


if __name__ == "__main__":
    print(experiment_of_job(sys.argv[1]).resolve())
