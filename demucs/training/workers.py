"""Loader workers: the processes that prepare batches for a rank.

They receive the signals of their rank and ignore them, since they must run until the rank has saved. They pass their
batches through shared memory, which may be too small, as in containers. A fork beside other threads of the rank may
leave a worker waiting for a lock that no thread of its own will release, so each worker reports its start, and one that
does not is replaced.
"""

import contextlib
import faulthandler
import functools
import logging
import multiprocessing
import os
import shutil
import signal
import time
import typing as tp
from multiprocessing.connection import Connection

import torch
from torch.utils.data import DataLoader

from ..errors import TrainingError
from .interruption import HANDLED, STACKS

logger = logging.getLogger(__name__)

START = 60.                         # seconds within which all workers must have reported their start
ATTEMPTS = 3
SHARED_MEMORY = "/dev/shm"          # shared memory on Linux, through which loader workers pass their batches
WORKER_BYTES = 2 ** 16              # bytes of it for the locks and queues of one worker
ENLARGE = ("give fewer of them, or none with misc.num_workers=0, or make it larger: `mount -o remount,size=16G /dev/shm` on "
           "the node, `docker run --shm-size=16g` for a container")


class Loader(DataLoader):
    """DataLoader whose worker processes ignore signals from their start on, since their rank decides when to stop, and
    whose workers are started anew if one does not report its start within `START` seconds. To be used inside
    `ending_workers`.

    Iteration raises TrainingError if workers cannot be started `ATTEMPTS` times, or shared memory is too small for
    them.
    """

    def __iter__(self) -> tp.Any:
        if not self.num_workers or self._iterator is not None:
            return super().__iter__()
        if 0 <= shared_memory_left() < WORKER_BYTES * self.num_workers:
            raise no_shared_memory(self.num_workers)
        random_state = torch.get_rng_state()      # the workers' seed is drawn from it
        for attempt in range(ATTEMPTS):
            torch.set_rng_state(random_state)
            iterator = self._start_workers()
            if iterator is not None:
                return iterator
            logger.warning("a loader worker did not start within %g s; all %d are started again", START, self.num_workers)
        raise TrainingError(f"misc.num_workers={self.num_workers}: {ATTEMPTS} times, a loader worker did not start within "
                            f"{START:g} s; give a smaller number, or 0 for none")

    def _start_workers(self) -> tp.Any:
        """An iterator with new workers, or None if one of them did not report its start."""
        before = set(multiprocessing.active_children())
        reports, sender = multiprocessing.Pipe(duplex=False)
        self.worker_init_fn = functools.partial(_start_in_worker, sender)
        with reports:
            # A worker inherits the signal mask. Otherwise a SIGTERM could end it before `_start_in_worker` runs.
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
            try:
                iterator = super().__iter__()
            except OSError as error:
                raise TrainingError(f"misc.num_workers={self.num_workers}: so many loader workers cannot be started "
                                    f"({error.strerror}); give a smaller number, or 0 for none") from error
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
                sender.close()
            if _all_report(reports, self.num_workers):
                return iterator
        kill(set(multiprocessing.active_children()) - before)
        self._iterator = None        # where the workers are persistent
        return None


def _all_report(reports: Connection, workers: int) -> bool:
    """Whether so many workers report within `START` seconds. True if one has ended, which torch reports."""
    deadline = time.monotonic() + START
    try:
        for _ in range(workers):
            if not reports.poll(max(deadline - time.monotonic(), 0)):
                return False
            reports.recv_bytes()
    except EOFError:
        pass
    return True


def _start_in_worker(reports: Connection, index: int) -> None:
    faulthandler.unregister(STACKS)
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    reports.send_bytes(b"started")
    reports.close()


def shared_memory_left() -> int:
    """Free shared memory in bytes: 0 if it is not writable, -1 if the system has no /dev/shm, so that it is unknown."""
    if not os.path.isdir(SHARED_MEMORY):
        return -1
    return shutil.disk_usage(SHARED_MEMORY).free if os.access(SHARED_MEMORY, os.W_OK) else 0


def no_shared_memory(workers: tp.Optional[int] = None) -> TrainingError:
    """Error to raise if shared memory is too small for the batches of loader workers, of which there are `workers`
    (None: unknown)."""
    left = max(shared_memory_left(), 0) / 1e6
    return TrainingError(f"out of shared memory: {SHARED_MEMORY} has {left:.1f} MB left for the batches of "
                         f"{'the' if workers is None else workers} loader workers; {ENLARGE}")


def warn_of_little_shared_memory(needed: float, workers: int) -> None:
    """Log a warning if fewer than `needed` bytes of shared memory are free, those of the batches that loader workers
    prefetch. None without `workers`, their number, or if the free memory is unknown."""
    left = shared_memory_left()
    if workers and 0 <= left < needed:
        logger.warning("%s has %.0f MB left, and batches of %d loader workers may take %.0f MB; if training runs "
                       "out of it: %s", SHARED_MEMORY, left / 1e6, workers, needed / 1e6, ENLARGE)


@contextlib.contextmanager
def naming_shared_memory() -> tp.Iterator[None]:
    """Context that turns torch's errors for exhausted shared memory, which show the stack of a worker, into a
    `TrainingError`. A worker killed by SIGBUS interrupts its rank anywhere, not only where it waits for batches."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "shared memory" in text or "DataLoader worker" in text and "Bus error" in text:
            raise no_shared_memory() from error
        raise


def kill(children: tp.Collection[tp.Any]) -> None:
    """Kill the child processes `children` and wait for their end. Python would send them SIGTERM, which loader workers
    ignore, and wait forever."""
    # torch's handler raises an error in the rank for every worker that is killed by a signal.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        child.kill()
        child.join()
    signal.signal(signal.SIGCHLD, before)


@contextlib.contextmanager
def ending_workers() -> tp.Iterator[None]:
    """Context at whose end all child processes that this process has started with multiprocessing are killed."""
    try:
        yield
    finally:
        kill(multiprocessing.active_children())
