"""Chance that can be repeated: generators keyed by what a draw belongs to.

A draw is keyed by (seed, purpose, epoch, step, example, ...), never by rank or loader worker, so the result does not
depend on how work is split. numpy's SeedSequence mixes the key (M. O'Neill's seed_seq_fe design), Philox generates.
"""

import contextlib
import typing as tp
import zlib

import numpy as np
import torch


def generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """A generator for the draws called `purpose` at the place `key`, e.g. `generator(42, "flip", epoch, step, example)`.

    Different purposes at the same place draw independently. All of `seed` and `key` must be >= 0.
    """
    entropy = [int(seed), zlib.crc32(purpose.encode()), *map(int, key)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


@contextlib.contextmanager
def seeded_torch(seed: int, purpose: str, *key: int, device: tp.Optional[torch.device] = None) -> tp.Iterator[None]:
    """Run code that draws from torch's global state (svd_lowrank, dropout) under a keyed one, then restore it."""
    devices = [device] if device is not None and torch.device(device).type == "cuda" else []
    number = int(generator(seed, purpose, *key).integers(2 ** 63))
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which would seed devices whose state is not restored.
        torch.default_generator.manual_seed(number)
        for cuda in devices:
            torch.cuda.default_generators[torch.device(cuda).index or 0].manual_seed(number)
        yield
