"""Signals that ask a training to stop or to save, and timeouts for ranks that hang.

A scheduler sends a signal before it ends a job: SIGUSR2 some minutes before the time limit, SIGTERM before preemption
or cancellation. The signal handler only records it; between two steps the ranks agree, save a checkpoint together and
exit. SIGUSR1 asks for a checkpoint without stopping. Ctrl-C asks for a stop, too; a second one ends the process at
once. Loader workers ignore these signals (`workers`).

Ranks that were started on this machine end together with their launcher. If such a rank was asked to stop and does not
finish its step, it is waiting for a rank that has died: after `GRACE` seconds it prints its stack traces and exits.

A rank that hangs (in a collective with a dead rank, or on a dead file system) prints the stack traces of all threads
and exits after `patience` seconds without a heartbeat, so that no job waits forever.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import typing as tp

from ..console import INTERRUPTED
from .distributed import Group

STOPPING = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
SAVING = signal.SIGUSR1
STACKS = signal.SIGQUIT      # sent by a batch script to the remaining ranks before it kills them
HANDLED = (*STOPPING, SAVING, STACKS)
LAUNCHER = "DEMUCS_LAUNCHER"     # environment variable: id of the process that starts ranks on this machine
GRACE = 60.                      # seconds, or three times the longest step so far
TO_SAVE = 10                     # factor on this time for writing the checkpoint, once all ranks have agreed
PR_SET_PDEATHSIG = 1             # option of prctl: the signal that a process gets when its parent ends
NO_SIGNAL = b"\0"


class Stopped(Exception):
    """Exception that ends a training which was asked to stop and has saved its state. The run continues from there when
    it is started again. `reason` is the name of the signal, the same on all ranks."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Requests:
    """Requests to stop or to save that this process has received as signals, and those that all ranks have agreed on.

    Args:
        group: the ranks.
        grace: time in seconds within which the ranks must agree on a request to stop (three times the longest step so
            far, if that is longer); after that this process exits. None for no limit.
    """

    def __init__(self, group: Group, *, grace: tp.Optional[float] = None):
        self.group = group
        self.grace = grace
        self.stop_signal = ""
        self.save_wanted = False
        self.stopping = False            # whether the ranks have agreed to stop
        self._longest_step = 0.
        self._looked = time.monotonic()

    def _note(self, number: int, frame: tp.Any) -> None:
        if number == SAVING:
            self.save_wanted = True
        else:
            self.stop_signal = self.stop_signal or signal.Signals(number).name

    @contextlib.contextmanager
    def listening(self) -> tp.Iterator[None]:
        """Context in which signals are recorded instead of ending the process; a second SIGINT still ends it. The
        previous handlers are restored afterwards. Outside of the main thread it has no effect, since only that can set
        signal handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._looked = time.monotonic()
        before = {number: signal.signal(number, self._note) for number in (*STOPPING, SAVING)}
        try:
            with self._with_signal_thread():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _with_signal_thread(self) -> tp.Iterator[None]:
        """Context with a thread that is notified of signals, too. The handler `_note` does not run while the main
        thread waits inside a library for another rank."""
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=self._read_signals, args=(receiver,), name="signals", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            sender.setblocking(True)
            sender.send(NO_SIGNAL)
            thread.join()
            receiver.close()
            sender.close()

    def _read_signals(self, signals: socket.socket) -> None:
        interrupts, asked = 0, None      # number of SIGINTs, and time of the first request to stop
        while True:
            wait = None
            if self.grace is not None and asked is not None:
                patience = max(self.grace, 3 * self._longest_step) * (TO_SAVE if self.stopping else 1)
                wait = asked + patience - time.monotonic()
                if wait <= 0:
                    faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
                    _end("a stop was asked for, and this process waits for another that does not answer; it ends, and the "
                         "run goes on from its last checkpoint when it is started again", 1)
            signals.settimeout(wait)
            try:
                numbers = signals.recv(64)
            except TimeoutError:
                continue
            if NO_SIGNAL in numbers:
                return
            interrupts += numbers.count(signal.SIGINT)
            if interrupts > 1:
                _end("interrupted twice: the run goes on from its last checkpoint when it is started again", INTERRUPTED)
            if asked is None and any(number in numbers for number in STOPPING):
                asked = time.monotonic()

    def agreed(self, due: bool = False) -> tp.Tuple[bool, bool]:
        """(stop, save): whether any rank was asked to stop; and whether any was asked to save, or `due`, that a
        checkpoint is due, is true on rank 0. The same on all ranks. A collective call. A request to save is thereby
        answered, one to stop remains."""
        return self.answered(self.group.sum(self.asking(due)))

    def asking(self, due: bool = False) -> tp.List[float]:
        """The requests of this rank, and on rank 0 whether a checkpoint is `due`, as numbers to be summed over all
        ranks."""
        return [*(float(self.stop_signal == number.name) for number in STOPPING),
                float(self.save_wanted or (due and self.group.is_first))]

    def answered(self, sums: tp.Sequence[float]) -> tp.Tuple[bool, bool]:
        """(stop, save) of `agreed`, from the sums over all ranks of `asking`."""
        *asked, save = sums
        if save:
            self.save_wanted = False
        # A signal reaches the ranks at different times, so a rank may have to take the reason from another. A signal
        # that arrives during the all-reduce belongs to the next call, and must not be cleared here.
        reason = next((number.name for number, count in zip(STOPPING, asked) if count), "")
        self.stop_signal = reason or self.stop_signal
        self.stopping = bool(reason)
        now = time.monotonic()
        self._longest_step, self._looked = max(self._longest_step, now - self._looked), now
        return self.stopping, save > 0


def _end(message: str, status: int) -> None:
    """End this process and its children at once, regardless of what the main thread does."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join(1)
    with contextlib.suppress(OSError):
        os.write(2, f"{message}\n".encode())
    os._exit(status)


def prepare_signals() -> None:
    """Set the signal handlers for the time before `Requests.listening`: SIGQUIT prints the stack traces of all threads,
    and SIGUSR1 (save) is ignored rather than ending the process. Has an effect in the main thread only."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(SAVING, signal.SIG_IGN)
        faulthandler.register(STACKS, file=sys.__stderr__, all_threads=True)


def launched_here() -> bool:
    """Whether this process is a rank that `dora run -d` or a batch script has started on this machine, and that process
    is still its parent."""
    return os.environ.get(LAUNCHER) == str(os.getppid())


def end_with_launcher() -> None:
    """Have the system send SIGTERM to this process when its launcher ends. Does nothing unless it was `launched_here`,
    and on other systems than Linux."""
    launcher = os.getppid()
    if not launched_here():
        return
    with contextlib.suppress(AttributeError, OSError):      # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != launcher:
        signal.raise_signal(signal.SIGTERM)


class Watchdog:
    """Timeout that ends this process `patience` seconds after the last `beat`, and prints the stack traces of all
    threads to stderr. None or 0: no timeout.

    It works while the interpreter is blocked inside a library, since the thread of faulthandler does not need the GIL.
    """

    def __init__(self, patience: tp.Optional[float]):
        self.patience = patience

    def beat(self) -> None:
        """Restart the timeout, or start it."""
        if self.patience:
            faulthandler.dump_traceback_later(self.patience, exit=True, file=sys.__stderr__)

    @contextlib.contextmanager
    def watching(self) -> tp.Iterator[None]:
        """Context in which the timeout runs; it is cancelled at the end."""
        self.beat()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
