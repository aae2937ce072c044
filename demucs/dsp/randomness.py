"""Reproducible random generators, keyed by the purpose of a draw.

The key of a draw is (seed, purpose, epoch, step, example, ...), never the rank or data loader worker, so the result
does not depend on how work is distributed. numpy's SeedSequence mixes the key (M. O'Neill's seed_seq_fe design); the
generator is Philox.
"""

import contextlib
import typing as tp
import zlib

import numpy as np
import torch


def generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """New random generator for the draws of `purpose` with the key `key`, e.g. `generator(42, "flip", epoch, step,
    example)`. Equal arguments give equal draws.

    Draws of different purposes with the same key are independent. `seed` and all of `key` must be >= 0.
    """
    entropy = [int(seed), zlib.crc32(purpose.encode()), *map(int, key)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def torch_generator(seed: int, purpose: str, *key: int, device: tp.Union[str, torch.device] = "cpu") -> torch.Generator:
    """New random generator of torch on `device`, whose state depends only on `seed`, `purpose` and `key`."""
    return torch.Generator(device).manual_seed(int(generator(seed, purpose, *key).integers(2 ** 63)))


@contextlib.contextmanager
def seeded_torch(seed: int, purpose: str, *key: int, device: tp.Optional[torch.device] = None) -> tp.Iterator[None]:
    """Context in which torch's global random generator (used by svd_lowrank, dropout) has a state that depends only on
    `seed`, `purpose` and `key`. It applies to the CPU, and to `device` if that is a GPU. The previous states are
    restored afterwards."""
    devices = [device] if device is not None and torch.device(device).type == "cuda" else []
    number = int(generator(seed, purpose, *key).integers(2 ** 63))
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which would also seed devices whose state is not restored.
        torch.default_generator.manual_seed(number)
        for cuda in devices:
            torch.cuda.default_generators[torch.device(cuda).index or 0].manual_seed(number)
        yield
