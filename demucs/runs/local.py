"""The processes of a run on this machine: how many, how they start, hear of signals, and end together. No torch here."""

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
PORTS = range(10000, 32000)      # below the range from which systems lend ports to clients
STRIDE = 7919                    # to the next port where one is taken
STOPS = (signal.SIGTERM, signal.SIGINT)
TO_SAY = 5.                      # seconds that ranks get when one has died: to say what they saw of it,
TO_PRINT = 2.                    # and to print where they stand


class LaunchError(DemucsError):
    """Processes cannot be started as they were asked for, or a job cannot go on."""


def emit(stream: int, text: bytes) -> None:
    """Write to a descriptor at once. What cannot be written is lost, as on a disk that is full for a while."""
    with contextlib.suppress(OSError):
        while text:
            text = text[os.write(stream, text):]


def tell(text: str) -> None:
    """A line of the log."""
    emit(1, f"{text}\n".encode(errors="backslashreplace"))


def say(text: str) -> None:
    """A line of the log, with the time."""
    tell(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}")


def quoted(words: tp.Iterable[str]) -> str:
    """A command line as one would type it in bash."""
    return " ".join(word if SAFE.fullmatch(word) else _quoted(word) for word in words)


def _quoted(word: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in word):
        letters = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}
        return "$'" + "".join(letters.get(letter) or (f"\\{ord(letter):03o}" if ord(letter) < 32 or ord(letter) == 127
                                                      else letter) for letter in word) + "'"
    return "'" + word.replace("'", r"'\''") + "'"


def exit_status(code: int) -> int:
    """That of a shell, of what `subprocess` returns: of a process that a signal has ended, 128 and its number."""
    return code if code >= 0 else 128 - code


def visible_gpus() -> int:
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        listed = os.environ["CUDA_VISIBLE_DEVICES"]
        return 0 if listed.startswith("-1") else len([device for device in listed.split(",") if device])
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return 0
    return sum(line.startswith("GPU") for line in done.stdout.splitlines())


def local_tasks() -> int:
    """Processes of a run without Slurm: DEMUCS_LOCAL_TASKS, else one for each visible GPU, else one."""
    count = os.environ.get("DEMUCS_LOCAL_TASKS")
    if not count:
        return max(1, visible_gpus())
    if not re.fullmatch("[1-9][0-9]*", count):
        raise LaunchError("DEMUCS_LOCAL_TASKS must be a whole number from 1 on")
    return int(count)


def free_port(number: int) -> int:
    """A port that follows from `number`. Two jobs on one node get different ones; one that somebody listens on is passed
    over. To be called on the node of rank 0."""
    place = number % len(PORTS)
    while _listens(PORTS[place]):
        place = (place + STRIDE) % len(PORTS)
    return PORTS[place]


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def say_idle(tasks: int, gpus: int) -> None:
    """GPUs that nobody uses are lent, and counted, all the same."""
    if gpus > tasks:
        say(f"Note: {gpus - tasks} of {gpus} GPUs idle: each task uses one, and there are only {tasks}; ask for fewer GPUs, or "
            f"for as many tasks where this script shares its work")


class Ranks:
    """Processes of one command. When one fails, the others are ended. A TERM or Ctrl-C that this process gets is a TERM for
    them: they save and leave, for which they have time. A second one ends them at once, and this process."""

    def __init__(self) -> None:
        self._running: tp.Dict[int, "subprocess.Popen[bytes]"] = {}
        self._asked = 0

    def run(self, count: int, command: tp.Sequence[str]) -> int:
        """Returns the exit status of the first that failed, or what stands for the signal."""
        say(f"{count} process(es): {quoted(command)}")
        # What was ignored when this process began, as Ctrl-C is in the background of a shell, is for somebody else.
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
        # A signal that comes meanwhile reaches all of them: this process is interrupted only when they are known.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            for rank in range(count):
                ours = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                        "DEMUCS_LAUNCHER": str(os.getpid())}
                # By the main thread, since ranks end with the thread that has started them.
                one = subprocess.Popen(command, env={**os.environ, **ours}, stdin=subprocess.DEVNULL, preexec_fn=_prepare)
                self._running[one.pid] = one
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def _ask(self, number: int, frame: tp.Any) -> None:
        if self._asked:
            self._send(signal.SIGKILL)
            self._running.clear()        # nobody waits for one that a dead disk holds
            sys.exit(self._asked)
        self._asked = exit_status(-number)
        say("Asked to stop: waiting for the processes to save and leave. Once more ends it at once")
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _wait(self) -> int:
        """Until all have ended, or one has failed. Returns its exit status."""
        while self._running:
            status = self._reap(0)
            if status:
                return status
        return 0

    def _reap(self, options: int) -> tp.Optional[int]:
        """The exit status of one of them that has ended; None where none has. Others' children are passed over."""
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
        """Ranks only note a SIGTERM while they wait for a dead one, by SIGQUIT they print where they stand."""
        for number, patience in ((signal.SIGTERM, TO_SAY), (signal.SIGQUIT, TO_PRINT), (signal.SIGKILL, None)):
            self._send(number)
            deadline = None if patience is None else time.monotonic() + patience
            while self._running and (deadline is None or time.monotonic() < deadline):
                if self._reap(os.WNOHANG) is None:
                    time.sleep(0.05)


def _prepare() -> None:
    """In a new process: Ctrl-C is for its launcher, and stacks are printed once it knows how."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
