"""Which example goes where: batches of one epoch, the same however they are split over ranks and loader workers.

One permutation of the dataset belongs to (seed, epoch). Step s takes its entries [s B, (s + 1) B); rank r the r-th of
the equal slices of that batch. The last, incomplete batch is dropped.
"""

import typing as tp

from torch.utils.data import Sampler

from ..dsp.randomness import generator
from ..errors import ConfigError, TrainingError


class ExampleKey(tp.NamedTuple):
    """One example of one batch. Draws that belong to it are keyed by (epoch, step, position), never by rank."""
    epoch: int
    step: int
    position: int    # place within the global batch
    index: int       # into the dataset


class EpochSampler(Sampler[tp.List[ExampleKey]]):
    """A batch sampler: lists of the keys of this rank's examples, one list per step."""

    def __init__(self, size: int, *, batch_size: int, world_size: int = 1, rank: int = 0, seed: int,
                 max_batches: tp.Optional[int] = None):
        """`size`: examples in the dataset; `batch_size`: global, over all ranks; `max_batches`: most steps of an epoch.

        Raises ConfigError where the batch cannot be split evenly, TrainingError where an epoch would have no batch.
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
        """Choose the permutation that the next iteration walks through, and the step that it begins with."""
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
