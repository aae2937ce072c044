"""Repitching: the published distribution, and the same batches whatever the loader.

Statistical tolerances: draws are seeded; each bound is about five standard deviations of the statistic.
"""

import math
import pickle

import numpy as np
import pytest
import torch
from conftest import require_program
from torch.utils.data import DataLoader

from demucs.audio import soundstretch
from demucs.data.repitch import RepitchDataset, trimmed_length
from demucs.data.sampler import EpochSampler, ExampleKey
from demucs.data.segments import as_key
from demucs.errors import ConfigError, ToolError

LENGTH = 8000


class Noise:
    """24 examples of three mono sources."""

    def __len__(self):
        return 24

    def __getitem__(self, key):
        index = as_key(key).index
        return 0.1 * torch.randn(3, 1, LENGTH, generator=torch.Generator().manual_seed(index))


@pytest.fixture
def make():
    require_program("soundstretch")

    def build(**changes):
        return RepitchDataset(Noise(), **{**dict(seed=1, proba=0.5, vocals=[2]), **changes})
    return build


def draws(dataset, count=4000, sources=3):
    return [dataset.draw(ExampleKey(0, n // 8, n % 8, 0), sources) for n in range(count)]


def test_distribution(make):
    found = draws(make(proba=0.2))
    changed = [each for each in found if each is not None]
    assert abs(len(changed) / 4000 - 0.2) < 5 * math.sqrt(.16 / 4000)
    assert all(len(each) == 3 and len(set(each)) == 1 for each in changed), "all sources move together"

    changed = [each[0] for each in draws(make(proba=1))]
    counts = np.bincount(np.array([pitch for pitch, _ in changed]) + 2, minlength=5)
    assert len(counts) == 5 and np.abs(counts - 800).max() < 5 * math.sqrt(4000 * .2 * .8)
    tempo = np.array([tempo for _, tempo in changed])
    # a normal distribution of deviation 5, cut at 12 = 2.4 deviations: 0.82 % lie on each limit
    assert np.abs(tempo).max() == 12
    for limit in (-12, 12):
        assert abs((tempo == limit).mean() - 0.0082) < 5 * math.sqrt(.0082 / 4000)
    assert abs(tempo.mean()) < 5 * 5 / math.sqrt(4000)
    inside = np.abs(tempo) <= 5
    assert abs(inside.mean() - 0.6827) < 5 * math.sqrt(.6827 * .3173 / 4000)


def test_every_source_by_itself(make):
    found = draws(make(proba=1, same=False), count=1000)
    assert np.mean([each[0][0] == each[1][0] for each in found]) == pytest.approx(0.2, abs=5 * math.sqrt(.16 / 1000))
    assert all(len({tempo for _, tempo in each}) > 1 or abs(each[0][1]) == 12 for each in found)


def test_examples(make):
    dataset = make()
    length = trimmed_length(LENGTH, 12)
    assert length == int((1 - 0.01 * 12) * LENGTH)
    for position in range(8):
        key = ExampleKey(0, 0, position, 5)
        changes, result, plain = dataset.draw(key, 3), dataset[key], Noise()[5]
        assert result.shape == (3, 1, length)
        if changes is None:
            assert torch.equal(result, plain[..., :length])
        else:
            for source, (pitch, tempo) in enumerate(changes):
                expected = soundstretch.find().stretch(plain[source], 44100, pitch=pitch, tempo=tempo,
                                                       voice=source == 2)
                assert torch.equal(result[source], expected[:, :length])
    assert {dataset.draw(ExampleKey(0, 0, n, 5), 3) is None for n in range(8)} == {True, False}


def test_draws_belong_to_the_key(make):
    dataset = make(proba=1)
    key = ExampleKey(2, 3, 4, 5)
    assert dataset.draw(key, 3) == dataset.draw(key._replace(index=9), 3)
    others = [key._replace(epoch=1), key._replace(step=1), key._replace(position=1)]
    assert all(dataset.draw(other, 3) != dataset.draw(key, 3) for other in others)
    assert make(proba=1, seed=2).draw(key, 3) != dataset.draw(key, 3)
    assert make(proba=0).draw(key, 3) is None


@pytest.mark.parametrize("max_tempo", [0, 12, 50, 95])
@pytest.mark.parametrize("length", [44100, 5001, 300])
def test_enough_is_left_at_every_limit(make, max_tempo, length):
    """The program's output is not shorter than what the example is cut to."""
    dataset = make(max_tempo=max_tempo)
    wav = torch.randn(1, length) * 0.1
    for pitch in (-2, 0, 2):
        for tempo in (-max_tempo, 0, max_tempo):
            kept = trimmed_length(length, max_tempo)
            result = dataset._stretched(wav, (pitch, float(tempo)), False, kept)
            assert result.shape == (1, kept)
            whole = dataset.program.stretch(wav, 44100, pitch=pitch, tempo=tempo)
            assert whole.shape[1] >= kept - 1


@pytest.mark.runs
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")   # more than CI has cores
def test_same_batches_whatever_the_loader(make):
    """Two equal runs, with 0, 1 and 3 workers, and a batch spread over two ranks."""
    def batches(workers, world_size=1, rank=0):
        sampler = EpochSampler(24, batch_size=8, world_size=world_size, rank=rank, seed=4)
        sampler.set_epoch(2)
        return list(DataLoader(make(), batch_sampler=sampler, num_workers=workers))
    expected = batches(0)
    assert len(expected) == 3 and expected[0].shape == (8, 3, 1, trimmed_length(LENGTH, 12))
    for workers in (0, 1, 3):
        assert all(torch.equal(a, b) for a, b in zip(batches(workers), expected, strict=True)), workers
    halves = [batches(0, world_size=2, rank=rank) for rank in range(2)]
    assert all(torch.equal(torch.cat(pair), whole) for *pair, whole in zip(*halves, expected, strict=True))


def test_pickled_without_a_new_search(make, monkeypatch):
    data = pickle.dumps(make())
    monkeypatch.setattr(soundstretch, "find", lambda: pytest.fail("searched again"))
    assert pickle.loads(data)[ExampleKey(0, 0, 0, 0)].shape[0] == 3


def test_missing_program_is_told_at_start_up(monkeypatch, tmp_path):
    soundstretch.find.cache_clear()
    monkeypatch.setenv("SOUNDSTRETCH", str(tmp_path / "absent"))
    with pytest.raises(ToolError, match="absent"):
        RepitchDataset(Noise(), seed=0, proba=0.2, vocals=[])
    soundstretch.find.cache_clear()


def test_program_that_stops_early(make):
    class Short:
        path = "/usr/bin/soundstretch"

        def stretch(self, wav, samplerate, **settings):
            return wav[:, :LENGTH // 2]
    dataset = make(proba=1)
    dataset.program = Short()
    with pytest.raises(ToolError, match="returned 4000 samples where 7040 were due"):
        dataset[ExampleKey(0, 0, 0, 0)]


@pytest.mark.parametrize("bad", [dict(max_tempo=96), dict(max_tempo=-1), dict(max_pitch=-1), dict(tempo_std=-1)])
def test_impossible_settings(make, bad):
    with pytest.raises(ConfigError, match="augment.repitch"):
        make(**bad)
