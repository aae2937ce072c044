"""Batches that loader workers write into shared memory."""

import multiprocessing

import pytest
import torch

from demucs.data.sampler import EpochSampler
from demucs.training.batches import AHEAD, BatchLoader
from demucs.training.workers import ending_workers

pytestmark = pytest.mark.runs


class Examples:
    """Examples that have the numbers of their key."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, key):
        return torch.tensor([[key.epoch, key.step, key.position, key.index]] * 3, dtype=torch.float32)

    def fill(self, out, key):
        out.copy_(self[key])


def loader(dataset, workers, batch_size=2):
    sampler = EpochSampler(len(dataset), batch_size=batch_size, seed=1)
    return sampler, BatchLoader(dataset, sampler, example=(3, 4), batch_size=batch_size, workers=workers,
                                device=torch.device("cpu"))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_in_their_order(workers):
    """Each is whole until the next one is asked for, in several epochs, one of which is left early."""
    dataset = Examples(40)
    with ending_workers():
        sampler, batches = loader(dataset, workers)
        assert len(batches) == 20
        for epoch, start, most in ((0, 0, 99), (1, 15, 99), (2, 0, 3), (3, 0, 99)):
            sampler.set_epoch(epoch, start)
            count = 0
            for keys, batch in zip(list(sampler), batches):
                assert torch.equal(batch, torch.stack([dataset[key] for key in keys]))
                count += 1
                if count == most:
                    break
            assert count == min(most, 20 - start)
    assert not multiprocessing.active_children()


def test_memory_is_used_again():
    with ending_workers():
        sampler, batches = loader(Examples(40), 2)
        places = [batch.data_ptr() for batch in batches]
    assert len(set(places)) == 2 * AHEAD + 1 and places[:5] == places[5:10]

