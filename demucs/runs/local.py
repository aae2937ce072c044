"""Processes of a run on this machine: their number, start, signals, and common end. This module does not import
torch."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing as tp

from ..errors import DemucsError

SAFE = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
PORTS = range(10000, 32000)      # below the ephemeral ports of operating systems
STRIDE = 7919                    # to the next port if one is in use
STOPS = (signal.SIGTERM, signal.SIGINT)
TO_SAY = 5.                      # seconds that the other ranks get when one has died: to log their error,
TO_PRINT = 2.                    # and to print their stack traces


class LaunchError(DemucsError):
    """Error for processes that cannot be started with these settings, or a job that cannot continue."""


def emit(stream: int, text: bytes) -> None:
    """Write `text` to the file descriptor `stream` without buffering. Errors, such as a full disk, are ignored."""
    with contextlib.suppress(OSError):
        while text:
            text = text[os.write(stream, text):]


def tell(text: str) -> None:
    """Print a line to standard output, which is the log."""
    emit(1, f"{text}\n".encode(errors="backslashreplace"))


def say(text: str) -> None:
    """Print a line, after the current time, to standard output, which is the log."""
    tell(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}")


def quoted(words: tp.Iterable[str]) -> str:
    """Command line of `words`, as text that bash splits into exactly these words."""
    return " ".join(word if SAFE.fullmatch(word) else _quoted(word) for word in words)


def _quoted(word: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in word):
        letters = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}
        return "$'" + "".join(letters.get(letter) or (f"\\{ord(letter):03o}" if ord(letter) < 32 or ord(letter) == 127
                                                      else letter) for letter in word) + "'"
    return "'" + word.replace("'", r"'\''") + "'"


def exit_status(code: int) -> int:
    """Exit status as a shell reports it, from the return code of `subprocess`: 128 + number for a signal."""
    return code if code >= 0 else 128 - code


def visible_gpus() -> int:
    """Number of GPUs in CUDA_VISIBLE_DEVICES, or if that is unset, of those that nvidia-smi lists; 0 without
    nvidia-smi."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        listed = os.environ["CUDA_VISIBLE_DEVICES"]
        return 0 if listed.startswith("-1") else len([device for device in listed.split(",") if device])
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return 0
    return sum(line.startswith("GPU") for line in done.stdout.splitlines())


def local_tasks() -> int:
    """Number of processes of a run without Slurm: DEMUCS_LOCAL_TASKS, else one per visible GPU, else one. Raises
    LaunchError if the variable is not a positive whole number."""
    count = os.environ.get("DEMUCS_LOCAL_TASKS")
    if not count:
        return max(1, visible_gpus())
    if not re.fullmatch("[1-9][0-9]*", count):
        raise LaunchError("DEMUCS_LOCAL_TASKS must be a whole number from 1 on")
    return int(count)


def free_port(number: int) -> int:
    """A port on which no program of this machine listens, derived from `number`, such that two jobs on one node get
    different ports. To be called on the node of rank 0."""
    place = number % len(PORTS)
    while _listens(PORTS[place]):
        place = (place + STRIDE) % len(PORTS)
    return PORTS[place]


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def say_idle(tasks: int, gpus: int) -> None:
    """Print a note if the number `gpus` of allocated GPUs exceeds `tasks`, since idle GPUs are accounted, too."""
    if gpus > tasks:
        say(f"Note: {gpus - tasks} of {gpus} GPUs idle: each task uses one, and there are only {tasks}; ask for fewer GPUs, or "
            f"for as many tasks where this script shares its work")


class Ranks:
    """Launcher of the ranks of a run on this machine, processes that run one command. When one fails, the others are
    ended. SIGTERM and Ctrl-C are forwarded as SIGTERM, after which the processes save and exit without a time limit. A
    second one kills them and ends this process."""

    def __init__(self) -> None:
        self._running: tp.Dict[int, "subprocess.Popen[bytes]"] = {}
        self._asked = 0

    def run(self, count: int, command: tp.Sequence[str]) -> int:
        """Start `count` processes of `command` and wait for them. Returns the exit status of the first that failed, 0
        if none has, or 128 + number of the signal that asked to stop."""
        say(f"{count} process(es): {quoted(command)}")
        # Signals that were ignored when this process began stay ignored, such as Ctrl-C for background jobs of a shell.
        before = {number: signal.signal(number, self._ask) for number in STOPS
                  if signal.getsignal(number) != signal.SIG_IGN}
        status = 1
        try:
            self._start(count, command)
            status = self._wait()
        finally:
            if status:
                self._end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._asked or status

    def _start(self, count: int, command: tp.Sequence[str]) -> None:
        # A signal that arrives meanwhile is delivered once all processes are started, so that it is forwarded to all.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            for rank in range(count):
                ours = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                        "DEMUCS_LAUNCHER": str(os.getpid())}
                # In the main thread, since the parent-death signal of ranks refers to the thread that has started them.
                one = subprocess.Popen(command, env={**os.environ, **ours}, stdin=subprocess.DEVNULL, preexec_fn=_prepare)
                self._running[one.pid] = one
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def _ask(self, number: int, frame: tp.Any) -> None:
        if self._asked:
            self._send(signal.SIGKILL)
            self._running.clear()        # do not wait for a process that is blocked by a dead file system
            sys.exit(self._asked)
        self._asked = exit_status(-number)
        say("Asked to stop: waiting for the processes to save and leave. A second signal ends them at once")
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _wait(self) -> int:
        """Wait until all have ended or one has failed. Returns the exit status of that one, else 0."""
        while self._running:
            status = self._reap(0)
            if status:
                return status
        return 0

    def _reap(self, options: int) -> tp.Optional[int]:
        """Exit status of one process that has ended; None if none has. Other child processes are ignored."""
        try:
            process, status = os.waitpid(-1, options)
        except ChildProcessError:
            self._running.clear()
            return None
        one = self._running.pop(process, None)
        if one is None:
            return None
        one.returncode = os.waitstatus_to_exitcode(status)
        return exit_status(one.returncode)

    def _end(self) -> None:
        """End the remaining ranks. While they wait for a dead rank, they only record SIGTERM; SIGQUIT makes them print
        their stack traces; SIGKILL ends them."""
        for number, patience in ((signal.SIGTERM, TO_SAY), (signal.SIGQUIT, TO_PRINT), (signal.SIGKILL, None)):
            self._send(number)
            deadline = None if patience is None else time.monotonic() + patience
            while self._running and (deadline is None or time.monotonic() < deadline):
                if self._reap(os.WNOHANG) is None:
                    time.sleep(0.05)


def _prepare() -> None:
    """Signal handlers of a new process: Ctrl-C is handled by its launcher, and SIGQUIT is ignored until the process has
    set its own handler."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
