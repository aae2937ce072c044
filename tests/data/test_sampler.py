import pytest

from demucs.data.sampler import EpochSampler, ExampleKey
from demucs.errors import ConfigError, TrainingError


def batches(epoch=0, **settings):
    sampler = EpochSampler(50, batch_size=8, seed=3, **settings)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler) == 6
    return found


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_ranks_share_the_batches_of_one(world_size):
    parts = [batches(world_size=world_size, rank=rank) for rank in range(world_size)]
    joined = [[key for part in step for key in part] for step in zip(*parts)]
    assert joined == batches()


def test_keys():
    found = batches(epoch=2)
    for step, batch in enumerate(found):
        assert [key[:3] for key in batch] == [(2, step, position) for position in range(8)]
    drawn = [key.index for batch in found for key in batch]
    assert len(set(drawn)) == 48 and 0 <= min(drawn) and max(drawn) < 50


def test_order_depends_on_epoch_and_seed_only():
    def order(seed, epoch):
        sampler = EpochSampler(50, batch_size=8, seed=seed)
        sampler.set_epoch(epoch)
        return [key.index for batch in sampler for key in batch]
    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(3, 2) and order(3, 1) != order(4, 1)
    dropped = {tuple(sorted(set(range(50)) - set(order(3, epoch)))) for epoch in range(20)}
    assert len(dropped) > 10, "the examples left over are others in each epoch"


def test_bad_sizes():
    with pytest.raises(TrainingError, match="no batch.*7 examples.*batch_size=8"):
        EpochSampler(7, batch_size=8, seed=0)
    with pytest.raises(ConfigError, match="batch_size=10.*4 ranks"):
        EpochSampler(70, batch_size=10, world_size=4, seed=0)
    with pytest.raises(ConfigError, match="rank 4"):
        EpochSampler(70, batch_size=8, world_size=4, rank=4, seed=0)
