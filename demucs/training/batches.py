"""Loader of training batches whose workers write examples into shared memory that is allocated once.

torch's DataLoader has every worker allocate shared memory for each batch, stack the examples into it, and release it
again. The pages of new memory cost several times as much as reading the examples (benchmarks/bench_loader.py). Here a
ring of slots, each with room for a batch, is reused.
"""

import logging
import typing as tp

import torch

from .workers import Loader

logger = logging.getLogger(__name__)

AHEAD = 2        # batches per worker that are prepared ahead, as in torch's DataLoader

Batch = tp.Sequence[tp.Any]     # keys of its examples


class _Slotted:
    """Batch sampler that adds to each batch of `sampler` the slot it is written to: (slot, keys)."""

    def __init__(self, sampler: tp.Any, slots: int):
        self.sampler, self.slots = sampler, slots
        self.next = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> tp.Iterator[tp.Tuple[int, Batch]]:
        for keys in self.sampler:
            yield self.next, keys
            self.next = (self.next + 1) % self.slots


class _Writer:
    """Dataset of a worker that writes the examples of a batch into its slot. The result is the slot and the number of
    examples."""

    def __init__(self, dataset: tp.Any, ring: torch.Tensor):
        self.dataset, self.ring = dataset, ring

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, batch: tp.Tuple[int, Batch]) -> tp.Tuple[int, int]:
        slot, keys = batch
        for row, key in zip(self.ring[slot], keys):
            self.dataset.fill(row, key)
        return slot, len(keys)


def _as_it_is(batch: tp.Any) -> tp.Any:
    return batch


class BatchLoader:
    """Iterable over the batches [b, ...] of `sampler`, on `device`, that `workers` processes prepare. A batch is valid
    until the next one is asked for.

    Args:
        dataset: `dataset.fill(out, key)` writes an example to `out`, a float32 tensor in shared memory.
        sampler: yields lists of keys.
        example: shape of an example.
        batch_size: largest number of examples of a batch.
        workers: at least 1; they live until the program ends.
        device: if it is a GPU, the slots are page-locked, and batches are copied to it.
    """

    def __init__(self, dataset: tp.Any, sampler: tp.Any, *, example: tp.Sequence[int], batch_size: int, workers: int,
                 device: torch.device):
        self.dataset = dataset
        self.device = device
        # One is used while `AHEAD` per worker are ready or being written: the next task is given out when a batch is
        # taken, and batches arrive in their order.
        slots = AHEAD * workers + 1
        self._ring = torch.empty(slots, batch_size, *example).share_memory_()
        if device.type == "cuda":
            _lock_pages(self._ring)
        self._loader = Loader(_Writer(dataset, self._ring), batch_sampler=_Slotted(sampler, slots), num_workers=workers,
                              prefetch_factor=AHEAD, collate_fn=_as_it_is, persistent_workers=True)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> tp.Iterator[torch.Tensor]:
        for slot, count in self._loader:
            batch = self._ring[slot][:count]
            if self.device.type == "cpu":
                yield batch
                continue
            there = batch.to(self.device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
            yield there
            copied.synchronize()       # long ago: a worker may write into the slot once the next batch is asked for


def _lock_pages(ring: torch.Tensor) -> None:
    """Lock the pages of shared memory, so that copies to a GPU run beside its work. Without, they are slower."""
    status = int(torch.cuda.cudart().cudaHostRegister(ring.data_ptr(), ring.numel() * ring.element_size(), 0))
    if status:
        logger.warning("the memory of batches could not be page-locked (CUDA error %d): copies to the GPU are slower", status)
