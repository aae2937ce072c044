"""Start of the processes of a batch script, and requeueing of its job when they have ended.

There are three modes: "job" inside a Slurm job, where srun starts the tasks; "here" on this machine, where this process
starts them; "submit" for dry runs of a script that would submit itself. A training in a job is supervised: if a task
dies, the others are ended, and the job is requeued if `requeue` decides so. Only the standard library is used, so that
this starts quickly and without the packages of the training.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import threading
import time
import typing as tp
from pathlib import Path

from ..errors import DemucsError, SignatureError, describe_os_error
from ..ranges import COUNT, POSITIVE, from_environment
from . import requeue, slurm
from .layout import BEST, EXPERIMENTS, MODELS
from .local import (LaunchError, Ranks, emit, exit_status, free_port, local_tasks, quoted, say, say_idle, tell,
                    visible_gpus)
from .lock import this_job

Command = tp.List[str]

SIGNATURE = re.compile("[0-9a-f]{8}")
# Options of srun for a task that fails. With ENDS, srun ends the other tasks. With LEAVES, it does nothing, also when a
# task ends long before the others, since this process ends them (`EndOfStep`).
ENDS = ["--kill-on-bad-exit=1"]
LEAVES = ["--kill-on-bad-exit=0", "--wait=0"]
BAD_END = re.compile(rb"srun: error: (.*: tasks? .*)")
TO_SAY = 4.            # seconds that the other tasks get when one has died: to log their error,
TO_PRINT = 2.          # and to print their stack traces
REFUSED = 2            # exit status of a training that was refused before it began
# Expanded by each task, where the ranks are known. With exec, Slurm's signals reach Python directly.
TASK = """export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
        export MASTER_PORT=${SLURM_STEP_RESV_PORTS:-$MASTER_PORT}
        MASTER_PORT=${MASTER_PORT%%[-,]*}; exec "$@\""""        # the first of several ports


class Launcher:
    """Launcher of commands in one of the three modes (see the top of this module). Each method returns an exit status.
    With `dry_run` commands are printed instead of run.

    Raises (all methods):
        LaunchError: if the numbers of tasks, nodes and GPUs or an environment variable do not fit.
    """

    def __init__(self, mode: str, *, dry_run: bool = False):
        self.mode = mode
        self.dry_run = dry_run

    def train(self, signature: str, command: Command) -> int:
        """Train an experiment by running `command` in all tasks. `signature` is "" if it is unknown. An interrupted job
        is requeued, with exit status 0."""
        name = os.environ.get("SLURM_JOB_NAME", "")
        if self.mode == "job" and signature and SIGNATURE.fullmatch(name) and name != signature:
            raise LaunchError(f"these settings are experiment {signature} now, but were submitted as {name}: the "
                              f"configuration that they override has changed since. Submit them again")
        if signature:
            os.environ["DEMUCS_EXPECTED_SIGNATURE"] = signature
        if self.mode != "job" or self.dry_run:
            return self.tasks(command, LEAVES if slurm.can_end_steps() else ENDS)
        chain = bool(os.environ.get("SLURM_ARRAY_JOB_ID"))
        return supervise(_folder(signature), lambda end: self._shown(self._step(end, command)), chain=chain)

    def tasks(self, command: Command, end: tp.Sequence[str] = ENDS, *, all_cores: bool = False) -> int:
        """Run `command` in every task, with RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set. Each process
        computes in one thread, unless `all_cores`, since the CPUs of a task are for its loader workers. `end` are
        srun's options for a task that fails."""
        if all_cores and not os.environ.get("OMP_NUM_THREADS"):
            cores = from_environment("SLURM_CPUS_PER_TASK", 0, COUNT) or len(os.sched_getaffinity(0)) // local_tasks()
            os.environ["OMP_NUM_THREADS"] = str(max(1, cores))
        if self.mode != "here":
            return self._run(self._step(end, command))
        _limit_threads()
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port(os.getpid())))
        count = local_tasks()
        say_idle(count, visible_gpus())
        return self._run_here(count, command)

    def one(self, command: Command) -> int:
        """Run `command` in a single task, which uses at most one GPU."""
        if self.mode == "here":
            return self._run_here(1, command)
        if self.mode == "job" and not self.dry_run:
            say_idle(1, slurm.gpus_of_job())
        return self._run(["srun", "--nodes=1", "--ntasks=1", "--kill-on-bad-exit=1", *command])

    def release(self, model: str, python: str) -> int:
        """Export the experiment `model`, with the Python interpreter `python`, if its export is missing or older than
        its weights; otherwise return 0. The jobs of an array need the same export: the first one writes it while the
        others wait."""
        with contextlib.ExitStack() as stack:
            if os.environ.get("SLURM_ARRAY_TASK_ID") and not self.dry_run:
                MODELS.mkdir(exist_ok=True)
                fcntl.flock(stack.enter_context(open(MODELS / f".{model}.lock", "w")), fcntl.LOCK_EX)
            best, exported = EXPERIMENTS / model / BEST, MODELS / f"{model}.th"
            if not exported.is_file():
                say(f"{exported} does not exist: exporting experiment {model} first")
            elif best.exists() and best.stat().st_mtime_ns > exported.stat().st_mtime_ns:
                say(f"{exported} is older than the weights of experiment {model}: exporting them again")
            else:
                return 0
            return self.one([python, "-m", "tools.export", model])

    def _step(self, end: tp.Sequence[str], command: Command) -> Command:
        """Command line of srun for the tasks of this job. `end` are the options for a task that fails."""
        _limit_threads()
        options: Command = []
        if self.mode == "job" and not self.dry_run:
            options += spread_tasks()
            port = rendezvous(options)
            say(f"{os.environ['SLURM_NTASKS']} tasks, rendezvous at {os.environ['MASTER_ADDR']}:{port}")
        return ["srun", *end, *options, "bash", "-c", TASK, "task", *command]

    def _shown(self, command: Command) -> Command:
        if self.dry_run:
            tell(f"    {quoted(command)}")
        else:
            say(quoted(command))
        return command

    def _run(self, command: Command) -> int:
        self._shown(command)
        return 0 if self.dry_run else exit_status(subprocess.run(command).returncode)

    def _run_here(self, count: int, command: Command) -> int:
        if not self.dry_run:
            return Ranks().run(count, command)
        tell(f"Would run here, in {count} process(es):")
        self._shown(command)
        return 0


def _limit_threads() -> None:
    """Set OMP_NUM_THREADS=1, unless it is set."""
    os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"


def spread_tasks() -> Command:
    """Options of srun that distribute the tasks of this job evenly over its nodes; an empty list if Slurm has done so.

    Slurm fills the first node: four tasks on two nodes of two GPUs become 3 + 1. The node of each task is named to
    distribute them evenly; the allocation of CPUs is unchanged. Raises LaunchError if a node has more tasks than GPUs,
    which would otherwise silently share them.
    """
    tasks, nodes = from_environment("SLURM_NTASKS", 1, POSITIVE), from_environment("SLURM_NNODES", 1, POSITIVE)
    placed, gpus = os.environ.get("SLURM_TASKS_PER_NODE", ""), from_environment("SLURM_GPUS_ON_NODE", 0, COUNT)
    even, options = -(-tasks // nodes), []
    if max((int(count) for count in re.findall(r"(?:^|,)(\d+)", placed)), default=0) > even:      # "4(x2)" or "3,1"
        places = [node for node in slurm.nodes_of_job() for _ in range(even)][:tasks]
        options = ["--overcommit", "--distribution=arbitrary", f"--nodelist={','.join(places)}"]
        say(f"Slurm put {placed} tasks and {os.environ.get('SLURM_JOB_CPUS_PER_NODE', '?')} CPUs on the nodes; {even} run on "
            f"each (--ntasks-per-node={even} would distribute the CPUs evenly, too)")
    if os.environ.get("SLURM_GPUS_ON_NODE") and even > gpus:
        raise LaunchError(f"{even} tasks on a node with {gpus} GPUs: --ntasks, --nodes and --gres do not fit together")
    say_idle(tasks, slurm.gpus_of_job())
    return options


def rendezvous(options: Command) -> str:
    """Set MASTER_ADDR and MASTER_PORT for the tasks of this job. If Slurm can reserve ports, the option for that is
    appended to `options`, and each task gets the port from its environment. Returns the port as text for the log."""
    port = str(free_port(int(os.environ.get("SLURM_JOB_ID") or 0)))
    os.environ["MASTER_ADDR"] = slurm.first_node()
    if slurm.lends_ports():
        options.append("--resv-ports=1")
        port = ""
    os.environ["MASTER_PORT"] = port
    return port or "a port that Slurm reserves"


def _folder(signature: str) -> Path:
    """Folder of a run. Raises SignatureError if `signature` is not a plain name."""
    if signature in ("", ".", "..") or signature != Path(signature).name:
        raise SignatureError(f"{signature!r} is not a signature")
    return EXPERIMENTS / signature


def supervise(folder: Path, step: tp.Callable[[tp.Sequence[str]], Command], *, chain: bool) -> int:
    """Run the training of the run in `folder`, and requeue or end the job as `requeue` decides. Returns the exit status
    for the batch script: 0 if the run is done, the job is requeued, or a chain has ended before.

    Args:
        folder: of the run.
        step: returns the command line of srun for given options on failing tasks.
        chain: whether this job is part of an array whose jobs train this run one after the other.

    Raises:
        DemucsError: if the start cannot be recorded.
        LaunchError: if the job should be requeued, but cannot.
    """
    most = from_environment("DEMUCS_MOST_FAILURES", requeue.MOST, POSITIVE)
    try:
        code, reason = requeue.begin(folder, chain=chain, most=most)
    except OSError as error:
        raise DemucsError(f"cannot keep account of the starts of {folder.name}: {describe_os_error(error)}") from error
    tell(f"{folder.name}: {reason}")
    if code:
        return 0 if code == requeue.NOTHING_TO_START else REFUSED
    ends = slurm.can_end_steps()
    status, words = watched(step(LEAVES if ends else ENDS), ends=ends)
    if status == REFUSED:
        return status
    verdict, reason = requeue.end(folder, exit_status=status, preempted=slurm.preempted(), words=words, most=most,
                                  chain=chain)
    tell(f"{folder.name}: {reason}")
    if verdict == requeue.Verdict.DONE:
        return 0
    if verdict != requeue.Verdict.AGAIN:
        return status or 1
    if chain:
        next_of_chain()
    else:
        back_into_the_queue()
    return 0


def watched(command: Command, *, ends: bool) -> tp.Tuple[int, str]:
    """Run `command`, which starts srun, and copy its error output. Returns its exit status and its message about the
    first task that failed, "" if none has.

    Args:
        command: command line of srun.
        ends: end the other tasks when one has failed, which srun does not do with `LEAVES`.
    """
    words, end = "", EndOfStep()
    with subprocess.Popen(command, stderr=subprocess.PIPE) as step:
        for line in tp.cast(tp.IO[bytes], step.stderr):
            emit(2, line)
            found = None if words else BAD_END.match(line.rstrip(b"\n"))
            if found is not None:
                words = found[1].decode(errors="replace")
                if ends:
                    end.start()
    end.stop()
    return exit_status(step.returncode), words


class EndOfStep:
    """Thread that ends the remaining tasks of this job within ten seconds after one has died. srun would send SIGTERM,
    which tasks only record while they wait for the dead one, and then nothing until KillWait (30 s by default) has
    passed. Here they first get time to log their error, then SIGQUIT, which makes them print their stack traces, and
    then SIGKILL."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._asking = threading.Lock()
        self._process: tp.Optional["subprocess.Popen[str]"] = None
        self._thread = threading.Thread(target=self._run, name="end of step", daemon=True)

    def start(self) -> None:
        """Start the thread, once a task has died."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread once the step is over: a later signal could reach the next start of this job."""
        with self._asking:
            self._over.set()
            if self._process is not None:
                self._process.kill()

    def _run(self) -> None:
        begin = time.monotonic()
        steps = self._steps()
        if self._over.wait(TO_SAY - (time.monotonic() - begin)):
            return
        self._signal("QUIT", steps)
        if self._over.wait(TO_PRINT):
            return
        while not self._signal("KILL", steps):       # the controller may be down for a while
            if self._over.wait(1.):
                return
            steps = self._steps()

    def _steps(self) -> Command:
        return slurm.steps_in(self._ask("squeue", "--noheader", "--steps", f"--jobs={this_job()}", "--format=%i"))

    def _signal(self, name: str, steps: Command) -> bool:
        return bool(steps) and self._ask("scancel", f"--signal={name}", *steps) is not None

    def _ask(self, *command: str) -> tp.Optional[str]:
        """Output of a command of Slurm; None if it fails, takes more than 20 s, or `stop` was called."""
        with self._asking:
            if self._over.is_set():
                return None
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                             stderr=subprocess.DEVNULL, text=True, errors="replace")
        try:
            answer, _ = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return None
        return answer if self._process.returncode == 0 else None


def next_of_chain() -> None:
    """Log that the next job of the chain continues the training. Raises LaunchError if this is the last one."""
    if os.environ.get("SLURM_ARRAY_TASK_ID") == os.environ.get("SLURM_ARRAY_TASK_MAX", ""):
        raise LaunchError("the chain of jobs has come to its end before the training: submit once more, or raise "
                          "DEMUCS_CHAIN")
    say("The next job of the chain goes on")


def back_into_the_queue() -> None:
    """Requeue this job, as its last action. Raises LaunchError if that is impossible or the job was cancelled."""
    if shutil.which("scontrol") is None:
        raise LaunchError("the state is saved, but this node has no scontrol to put the job back into the queue: submit it "
                          "again to go on, and set DEMUCS_CHAIN=N in the cluster file for a chain of N jobs")
    state = slurm.job_fields().get("JobState", "")
    if state != "RUNNING":               # Slurm would restart even a cancelled job
        raise LaunchError(f"the job is {state}: it stays so")
    say("Back into the queue")
    if not slurm.put_back():
        raise LaunchError("the state is saved, but scontrol requeue failed: submit it again to go on")


def grid(command: Command) -> int:
    """Run `command`, written by submitit in the script of its job: srun OPTIONS... PYTHON -u -m submitit... FOLDER.
    Returns its exit status. The job is supervised as by `Launcher.train`; an array consists of different experiments
    here, and is not a chain."""
    place = command.index("-u") - 1
    options = [option for option in command[:place] if not option.startswith("--kill-on-bad-exit=")]
    asked = subprocess.run([command[place], "-m", "demucs.scheduling", command[-1]], stdout=subprocess.PIPE, text=True,
                           errors="surrogateescape", stdin=subprocess.DEVNULL)
    experiment = Path(next(reversed(asked.stdout.splitlines()), ""))
    lent: Command = []
    rendezvous(lent)
    if not experiment.is_absolute():
        say("The experiment of this job is unknown, so submitit alone decides whether the job is requeued")
        return exit_status(subprocess.run(["srun", *command]).returncode)
    os.environ["DEMUCS_SUPERVISED"] = "1"
    return supervise(experiment, lambda end: ["srun", *end, *options, *lent, *command[place:]], chain=False)


@contextlib.contextmanager
def closing_log(tee: tp.Optional[int]) -> tp.Iterator[None]:
    """Context at whose end all output of this process is in the log. `tee` is the id of the process to which bash has
    piped the output, None if there is none; bash has kept the original streams as descriptors 3 and 4. At the end they
    are restored, and `tee` is awaited."""
    try:
        yield
    finally:
        if tee is not None:
            for kept, stream in ((3, 1), (4, 2)):
                os.dup2(kept, stream)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(tee, 0)
