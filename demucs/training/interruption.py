"""Requests from outside, to stop or to save, and what happens when nothing happens any more.

A scheduler warns before it ends a job: SIGUSR2 some minutes before the time limit, SIGTERM before it preempts or cancels.
A handler only notes that; the ranks agree between two steps, save together and leave. SIGUSR1 asks for a checkpoint
without stopping. Loader workers get the same signals and must live on until their rank has saved. Ctrl-C is such a request,
too; a second one ends the process at once.

Ranks that were started on this machine end with what started them. One of them that has noted a request to stop and does not
come to the end of its step waits for a rank that is dead: after `GRACE` seconds it prints its stacks and ends.

A rank that hangs (a collective whose partner is gone, a dead file system) prints the stacks of all its threads and ends
itself after `patience` seconds without a beat, so that no job waits for ever.
"""

import contextlib
import ctypes
import faulthandler
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
import typing as tp

from torch.utils.data import DataLoader

from ..console import INTERRUPTED
from ..errors import TrainingError
from .distributed import Group

logger = logging.getLogger(__name__)

STOPPING = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
SAVING = signal.SIGUSR1
STACKS = signal.SIGQUIT      # what a batch script sends to the ranks that are left, before it ends them
HEEDED = (*STOPPING, SAVING, STACKS)
LAUNCHER = "DEMUCS_LAUNCHER"     # environment variable: id of the process that starts ranks on this machine
GRACE = 60.                      # seconds, or three times the longest step so far
TO_SAVE = 10                     # times as long for the checkpoint, once all have agreed
PR_SET_PDEATHSIG = 1             # of prctl: the signal by which a process is told that its parent is gone
NO_SIGNAL = b"\0"
SHARED_MEMORY = "/dev/shm"   # where Linux has what processes share; loader workers hand their batches over in it
LEAST = 2 ** 16              # bytes there for the locks and queues of one worker
ENLARGE = ("give fewer of them, or none with misc.num_workers=0, or make it larger: `mount -o remount,size=16G /dev/shm` on "
           "the node, `docker run --shm-size=16g` for a container")


class Stopped(Exception):
    """The run was asked to stop, has saved its state, and goes on from there when it is started again. `reason` is the
    name of the signal, the same on all ranks."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Requests:
    """What was asked of this process, and what the group has agreed on.

    Args:
        grace: seconds in which a request to stop has to lead to an agreement, else the process ends; None: for ever.
    """

    def __init__(self, group: Group, *, grace: tp.Optional[float] = None):
        self.group = group
        self.grace = grace
        self.stop_signal = ""
        self.save_wanted = False
        self.stopping = False            # agreed on
        self._longest_step = 0.
        self._looked = time.monotonic()

    def _note(self, number: int, frame: tp.Any) -> None:
        if number == SAVING:
            self.save_wanted = True
        else:
            self.stop_signal = self.stop_signal or signal.Signals(number).name

    @contextlib.contextmanager
    def listening(self) -> tp.Iterator[None]:
        """Signals are noted inside the block, and handled as before after it. Only the main thread can listen."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._looked = time.monotonic()
        before = {number: signal.signal(number, self._note) for number in (*STOPPING, SAVING)}
        try:
            with self._overseen():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _overseen(self) -> tp.Iterator[None]:
        """A thread hears of signals, too: while the main thread waits in a library for another rank, `_note` does not run.
        """
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=self._oversee, args=(receiver,), name="signals", daemon=True)
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

    def _oversee(self, signals: socket.socket) -> None:
        interrupts, asked = 0, None      # when a stop was asked for first
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
        """(stop, save): whether any rank was asked to, or, for saving, whether it is `due` on the first. All ranks must
        call this together."""
        *asked, save = self.group.sum([*(self.stop_signal == number.name for number in STOPPING),
                                       self.save_wanted or (due and self.group.is_first)])
        if save:
            self.save_wanted = False
        # A signal reaches the ranks one after the other, and the first of them may have to give the reason for another. One
        # that comes during the sum is for the next call: it must not be forgotten here.
        reason = next((number.name for number, count in zip(STOPPING, asked) if count), "")
        self.stop_signal = reason or self.stop_signal
        self.stopping = bool(reason)
        now = time.monotonic()
        self._longest_step, self._looked = max(self._longest_step, now - self._looked), now
        return self.stopping, save > 0


def _end(message: str, status: int) -> None:
    """Ends this process at once, whatever its main thread does."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join(1)
    with contextlib.suppress(OSError):
        os.write(2, f"{message}\n".encode())
    os._exit(status)


def prepare_signals() -> None:
    """At the start of a process, before it can listen: SIGQUIT prints the stacks of all threads, and a wish for a checkpoint
    ends nothing. Only the main thread can say so."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(SAVING, signal.SIG_IGN)
        faulthandler.register(STACKS, file=sys.__stderr__, all_threads=True)


def launched_here() -> bool:
    """Whether this process is a rank that `dora run -d` or a batch script has started on this machine."""
    return os.environ.get(LAUNCHER) == str(os.getppid())


def end_with_launcher() -> None:
    """SIGTERM to this process when the one that has started it is gone, where that is `launched_here`."""
    launcher = os.getppid()
    if not launched_here():
        return
    with contextlib.suppress(AttributeError, OSError):      # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != launcher:
        signal.raise_signal(signal.SIGTERM)


class Loader(DataLoader):
    """A loader whose workers heed no signals, from their first moment on: their rank alone decides when to stop. Use
    `ending_workers` in the rank."""

    def __init__(self, *args: tp.Any, **kwargs: tp.Any):
        super().__init__(*args, worker_init_fn=_ignore_in_worker, **kwargs)

    def __iter__(self) -> tp.Any:
        if self.num_workers and self._iterator is None and 0 <= shared_memory_left() < LEAST * self.num_workers:
            raise no_shared_memory(self.num_workers)
        # A worker inherits what is blocked. Without, a SIGTERM would end one that has not come to its own code yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
        try:
            return super().__iter__()
        except OSError as error:
            raise TrainingError(f"misc.num_workers={self.num_workers}: so many loader workers cannot be started "
                                f"({error.strerror}); give a smaller number, or 0 for none") from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


def shared_memory_left() -> int:
    """Bytes that can be shared between processes: none where nothing can be written there, -1 where it is not known."""
    if not os.path.isdir(SHARED_MEMORY):
        return -1
    return shutil.disk_usage(SHARED_MEMORY).free if os.access(SHARED_MEMORY, os.W_OK) else 0


def no_shared_memory(workers: tp.Optional[int] = None) -> TrainingError:
    left = max(shared_memory_left(), 0) / 2 ** 20
    return TrainingError(f"out of shared memory: {SHARED_MEMORY} has {left:.1f} MB left for the batches of "
                         f"{'the' if workers is None else workers} loader workers; {ENLARGE}")


def warn_of_little_shared_memory(needed: float, workers: int) -> None:
    """One line in the log where batches of `needed` bytes in all, which `workers` have ready, do not fit."""
    left = shared_memory_left()
    if workers and 0 <= left < needed:
        logger.warning("%s has %.0f MB left, and batches of %d loader workers may take %.0f MB; where training runs out of "
                       "it: %s", SHARED_MEMORY, left / 2 ** 20, workers, needed / 2 ** 20, ENLARGE)


@contextlib.contextmanager
def naming_shared_memory() -> tp.Iterator[None]:
    """Inside the block, what torch raises where shared memory runs out, with the stacks of a worker, is a `TrainingError`. A
    worker that is ended by that (SIGBUS) interrupts its rank anywhere, not only where it waits for batches."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "shared memory" in text or "DataLoader worker" in text and "Bus error" in text:
            raise no_shared_memory() from error
        raise


def _ignore_in_worker(index: int) -> None:
    faulthandler.unregister(STACKS)
    for number in HEEDED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


@contextlib.contextmanager
def ending_workers() -> tp.Iterator[None]:
    """Child processes end with the block. Python would ask them to, by the signal that they ignore, and wait for ever."""
    try:
        yield
    finally:
        # torch makes an error of every worker that ends by a signal, in whatever its rank does at that moment.
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        signal.signal(signal.SIGCHLD, before)


class Watchdog:
    """Ends this process, with the stacks of all threads in its log, `patience` seconds after the last beat.

    It works while the interpreter is stuck in a library, since faulthandler's thread needs no lock.
    """

    def __init__(self, patience: tp.Optional[float]):
        self.patience = patience

    def beat(self) -> None:
        if self.patience:
            faulthandler.dump_traceback_later(self.patience, exit=True, file=sys.__stderr__)

    @contextlib.contextmanager
    def watching(self) -> tp.Iterator[None]:
        self.beat()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
