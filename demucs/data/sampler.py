"""Batch sampler: the batches of an epoch, independent of the number of ranks and loader workers.

The permutation of the dataset is a function of (seed, epoch). The global batch of step s has its entries [s B, (s + 1)
B); rank r takes the r-th of its equal slices. The last, incomplete batch is dropped.
"""

import typing as tp

from torch.utils.data import Sampler

from ..dsp.randomness import generator
from ..errors import ConfigError, TrainingError


class ExampleKey(tp.NamedTuple):
    """Key of one example in one batch: its place in the training and its `index` into the dataset. Random draws for the
    example are keyed by (epoch, step, position), never by rank."""
    epoch: int
    step: int
    position: int    # within the global batch
    index: int       # into the dataset


class EpochSampler(Sampler[tp.List[ExampleKey]]):
    """Batch sampler that yields, for each step of an epoch, the list of keys of this rank's examples."""

    def __init__(self, size: int, *, batch_size: int, world_size: int = 1, rank: int = 0, seed: int,
                 max_batches: tp.Optional[int] = None):
        """`size` is the number of examples in the dataset, `batch_size` that of the global batch over all ranks, and
        `max_batches` the largest number of steps per epoch.

        Raises ConfigError if the batch cannot be split evenly, TrainingError if an epoch would have no batch.
        """
        if batch_size < 1 or world_size < 1 or batch_size % world_size:
            raise ConfigError(f"batch_size={batch_size} cannot be split evenly over {world_size} ranks: make it a "
                              f"multiple of {world_size}")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank {rank} does not exist among {world_size} ranks")
        if size < batch_size:
            raise TrainingError(f"an epoch would have no batch: the training set has {size} examples and "
                                f"batch_size={batch_size}; lower batch_size, shorten dset.segment or dset.shift, or "
                                f"add tracks")
        self.size = size
        self.batch_size = batch_size
        self.per_rank = batch_size // world_size
        self.rank = rank
        self.seed = seed
        self.epoch = 0
        self.start = 0
        self.steps = min(size // batch_size, max_batches or size)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch (counted from 0) of the next iteration, and the step that it starts at."""
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> tp.Iterator[tp.List[ExampleKey]]:
        epoch = self.epoch
        order = generator(self.seed, "order", epoch).permutation(self.size)
        first = self.rank * self.per_rank
        for step in range(self.start, self.steps):
            batch = order[step * self.batch_size:(step + 1) * self.batch_size]
            yield [ExampleKey(epoch, step, position, int(batch[position]))
                   for position in range(first, first + self.per_rank)]
