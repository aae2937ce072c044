"""Shards of a test set, one per process, and the device of each.

A shard is every N-th track. It is set by --shard I/N, or derived from the environment if the batch script declares that
its processes share the songs (DEMUCS_SHARED_SCORING): from the task of a Slurm array and the rank among the processes
of a job. In any other job, a process scores all songs.
"""

import argparse
import typing as tp

import torch

from ..errors import ConfigError
from ..separation.devices import usable_device

SHARED = "DEMUCS_SHARED_SCORING"       # "job" or "here", set by slurm_scripts/evaluate_slurm.sh


class Shard(tp.NamedTuple):
    """Every `count`-th track, starting with number `index` (from 0)."""
    index: int
    count: int


def shard(text: str) -> Shard:
    """Shard from its text "I/N", for argparse. Raises argparse.ArgumentTypeError for anything else, including I >=
    N."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part I/N with I from 0 to N - 1, such as 0/8 or 7/8")
    return Shard(int(index), int(count))


def shard_of(environment: tp.Mapping[str, str]) -> Shard:
    """Shard of this process among the tasks of a Slurm array and the ranks of its job, if the batch script declares
    that they share the songs (see the top of this module); otherwise all songs, 0 of 1.

    Raises:
        ConfigError: if the task indices of the array are not evenly spaced, so that tracks would be left out, or a
            number in the environment is invalid.
    """
    def number(name: str, default: int) -> int:
        text = environment.get(name) or str(default)
        if not text.isdecimal():
            raise ConfigError(f"{name}={text} in the environment is no number from 0 on: unset it, or give --shard I/N")
        return int(text)

    if not environment.get(SHARED):
        return Shard(0, 1)
    rank, world_size = number("RANK", 0), number("WORLD_SIZE", 1)
    if rank >= world_size:
        raise ConfigError(f"RANK={rank} of WORLD_SIZE={world_size} in the environment: ranks count from 0 to "
                          f"WORLD_SIZE - 1; unset them, or give --shard I/N")
    if not environment.get("SLURM_ARRAY_TASK_ID") or environment[SHARED] != "job":
        return Shard(rank, world_size)
    first, last = number("SLURM_ARRAY_TASK_MIN", 0), number("SLURM_ARRAY_TASK_MAX", 0)
    count, task = number("SLURM_ARRAY_TASK_COUNT", 1), number("SLURM_ARRAY_TASK_ID", 0)
    step = (last - first) // (count - 1) if count > 1 else 1
    if first + step * (count - 1) != last or (task - first) % step:
        raise ConfigError(f"the numbers of this Slurm array are not evenly spaced ({count} from {first} to {last}); "
                          f"submit with --array=0-{count - 1}: tracks that are done are not scored again")
    return Shard((task - first) // step * world_size + rank, count * world_size)


def device_of(name: str, environment: tp.Mapping[str, str]) -> torch.device:
    """The device called `name`. For "cuda" with several GPUs it is the one with the number LOCAL_RANK of `environment`,
    modulo their number.

    Raises:
        ConfigError: if it cannot be used.
    """
    rank = environment.get("LOCAL_RANK") or "0"
    if name == "cuda" and torch.cuda.device_count() > 1:
        name = f"cuda:{(int(rank) if rank.isdecimal() else 0) % torch.cuda.device_count()}"
    return usable_device(name)
