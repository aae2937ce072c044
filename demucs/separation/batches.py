"""Chunks that a model separates in one call, as many as the memory of a GPU allows, and the order of results that
several threads compute."""

import concurrent.futures
import math
import threading
import typing as tp
from collections import deque

import torch

from .devices import free_memory

MOST = 32           # chunks per call that are chosen automatically: more are hardly faster
SHARE = 0.6         # of the free memory that the chunks of one call may take

Item = tp.TypeVar("Item")
Result = tp.TypeVar("Result")


class Batches:
    """Sizes of the batches of one model.

    Args:
        batch: largest number of chunks per call. None: on a GPU as many as its free memory allows, measured by the
            first call, which has one chunk; elsewhere 1.
    """

    def __init__(self, batch: tp.Optional[int]):
        self.size = batch or 1
        self._measuring = batch is None
        self._lock = threading.Lock()

    def groups(self, items: tp.Sequence[Item], key: tp.Callable[[Item], tp.Any]) -> tp.Iterator[tp.List[Item]]:
        """Consecutive items of equal `key`, at most `size` in a group, which may change while groups are computed."""
        group: tp.List[Item] = []
        for item in items:
            if group and (len(group) >= self.size or key(item) != key(group[0])):
                yield group
                group = []
            group.append(item)
        if group:
            yield group

    def run(self, call: tp.Callable[[tp.List[Item]], tp.List[Result]], group: tp.List[Item], device: torch.device
            ) -> tp.List[Result]:
        """`call(group)`, in parts where the memory of a GPU does not suffice for all. Later groups are then smaller."""
        before = self._begin(device)
        try:
            results = call(group)
        except torch.OutOfMemoryError:
            if len(group) == 1:
                raise
            results = None
        if results is None:             # outside of the handler, which keeps the tensors of the failed call
            half = len(group) // 2
            with self._lock:
                self.size, self._measuring = min(self.size, max(1, half)), False
            if device.type == "cuda":
                torch.cuda.empty_cache()
            return [*self.run(call, group[:half], device), *self.run(call, group[half:], device)]
        self._end(device, before, len(group))
        return results

    def _begin(self, device: torch.device) -> tp.Optional[int]:
        if not self._measuring or device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)

    def _end(self, device: torch.device, before: tp.Optional[int], chunks: int) -> None:
        if before is None:
            return
        taken = max(1, torch.cuda.max_memory_allocated(device) - before)
        with self._lock:
            self._measuring = False
            self.size = fitting(free_memory(device), taken / chunks)


def fitting(free: float, per_chunk: float) -> int:
    """Number of chunks per call, from 1 to MOST, if `free` bytes are free and each chunk takes `per_chunk`."""
    return max(1, min(MOST, int(SHARE * free / per_chunk) if math.isfinite(free) else MOST))


def in_order(function: tp.Callable[[Item], Result], items: tp.Iterable[Item], workers: int) -> tp.Iterator[Result]:
    """Results in the order of `items`; at most `workers` of them are computed ahead, which limits memory."""
    if workers < 2:
        yield from map(function, items)
        return
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending: tp.Deque["concurrent.futures.Future[Result]"] = deque()
        try:
            for item in items:
                if len(pending) == workers:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, item))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
