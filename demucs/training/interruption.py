"""Requests from outside, to stop or to save, and what happens when nothing happens any more.

A scheduler warns before it ends a job: SIGUSR2 some minutes before the time limit, SIGTERM before it preempts or cancels.
A handler only notes that; the ranks agree between two steps, save together and leave. SIGUSR1 asks for a checkpoint
without stopping. Loader workers get the same signals and must live on until their rank has saved.

A rank that hangs (a collective whose partner is gone, a dead file system) prints the stacks of all its threads and ends
itself after `patience` seconds without a beat, so that no job waits for ever.
"""

import contextlib
import faulthandler
import logging
import multiprocessing
import signal
import sys
import threading
import typing as tp

from torch.utils.data import DataLoader

from .distributed import Group

logger = logging.getLogger(__name__)

STOPPING = (signal.SIGUSR2, signal.SIGTERM)
SAVING = signal.SIGUSR1
STACKS = signal.SIGQUIT      # what a batch script sends to the ranks that are left, before it ends them
HEEDED = (*STOPPING, SAVING, STACKS)


class Stopped(Exception):
    """The run was asked to stop, has saved its state, and goes on from there when it is started again. `reason` is the
    name of the signal, the same on all ranks."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Requests:
    """What was asked of this process, and what the group has agreed on."""

    def __init__(self, group: Group):
        self.group = group
        self.stop_signal = ""
        self.save_wanted = False

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
        before = {number: signal.signal(number, self._note) for number in (*STOPPING, SAVING)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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
        return bool(reason), save > 0


def prepare_signals() -> None:
    """At the start of a process, before it can listen: SIGQUIT prints the stacks of all threads, and a wish for a checkpoint
    ends nothing. Only the main thread can say so."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(SAVING, signal.SIG_IGN)
        faulthandler.register(STACKS, file=sys.__stderr__, all_threads=True)


class Loader(DataLoader):
    """A loader whose workers heed no signals, from their first moment on: their rank alone decides when to stop. Use
    `ending_workers` in the rank."""

    def __init__(self, *args: tp.Any, **kwargs: tp.Any):
        super().__init__(*args, worker_init_fn=_ignore_in_worker, **kwargs)

    def __iter__(self) -> tp.Any:
        # A worker inherits what is blocked. Without, a SIGTERM would end one that has not come to its own code yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


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
