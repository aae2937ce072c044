"""Which segments are examples: balanced over tracks, mixes of tracks, and shares of datasets."""

import collections

import numpy as np
import pytest
import torch
from data.songs import RATE, write

from demucs.data.build import build_policy, training_sets
from demucs.data.sampler import ExampleKey
from demucs.data.segments import Weighted, count_tracks
from demucs.errors import ConfigError

SOURCES = ("drums", "vocals")


def constant(folder, name, value, seconds):
    """A song whose stems have the values `value` (drums) and `value` + 0.01 (vocals) throughout."""
    for source, offset in zip(SOURCES, (0., .01)):
        write(folder / name / f"{source}.wav", np.full((int(seconds * RATE), 1), value + offset))


@pytest.fixture
def folders(tmp_path):
    for number, seconds in enumerate((2, 5, 20)):
        constant(tmp_path / "wav" / "train", f"song {number}", (number + 1) / 10, seconds)
    constant(tmp_path / "wav" / "valid", "v", .5, 2)
    for split in ("train", "valid"):
        constant(tmp_path / "wav2" / split, "other", .8, 3)
    return tmp_path


def sets(folders, sampling="grid", seed=3, per_track=50, sources=SOURCES, **more):
    policy = build_policy(sampling, segment=1, shift=1, seed=seed, per_track=per_track)
    return training_sets(musdb=None, use_musdb=False, wav=folders / "wav", sources=list(sources), policy=policy,
                         samplerate=RATE, channels=1, normalize=False, full_cv=True, train_valid=False,
                         cache_dir=folders / "cache", seed=seed, **more)[0]


def values(dataset, key):
    """Value of each stem, which must be constant, times ten."""
    example = dataset[key]
    assert torch.equal(example, example[..., :1].expand_as(example))
    return [round(float(value), 3) for value in 10 * example[:, 0, 0]]


def test_balanced_takes_as_many_examples_of_each_track(folders):
    dataset = sets(folders, "balanced")
    assert len(dataset) == 150
    drawn = collections.Counter(values(dataset, ExampleKey(1, 0, index, index))[0] for index in range(150))
    assert drawn == {1.: 50, 2.: 50, 3.: 50}
    assert len(sets(folders, "grid")) == 2 + 5 + 20


def test_random_mix_draws_each_source_from_a_track_of_its_own(folders):
    dataset = sets(folders, "random_mix", per_track=400)
    assert len(dataset) == 1200
    mixes = collections.Counter(tuple(values(dataset, ExampleKey(0, 0, index, index))) for index in range(1200))
    assert {(drums, round(vocals - .1, 3)) for drums, vocals in mixes} == {(a, b) for a in (1., 2., 3.) for b in (1., 2., 3.)}
    # each of nine mixes has a ninth of 1200 examples, within 4.5 standard deviations of a binomial distribution
    assert all(abs(count - 1200 / 9) < 4.5 * (1200 * 8 / 81) ** .5 for count in mixes.values())
    key = ExampleKey(0, 0, 7, 7)
    assert dataset.describe(key).count("song") in (1, 2)
    assert torch.equal(dataset[key], sets(folders, "random_mix", per_track=400)[key])
    others = [values(sets(folders, "random_mix", seed=4), ExampleKey(0, 0, index, index)) for index in range(20)]
    assert others != [values(dataset, ExampleKey(0, 0, index, index)) for index in range(20)]


def test_random_mix_of_one_source_with_the_rest_of_another_track(folders):
    for name in ("song 0", "song 1", "song 2"):
        assert (folders / "wav" / "train" / name / "vocals.wav").exists()
    dataset = sets(folders, "random_mix", sources=("vocals",))
    pairs = {tuple(values(dataset, ExampleKey(0, 0, index, index))) for index in range(100)}
    assert {round(vocals - .1, 3) for vocals, rest in pairs} == {rest for vocals, rest in pairs} == {1., 2., 3.}
    assert any(round(vocals - .1, 3) != rest for vocals, rest in pairs)


@pytest.mark.parametrize("shares", [{"wav": .25, "wav2": .75}, {"wav2": 3, "wav": 1}])
def test_shares_of_datasets(folders, shares):
    dataset = sets(folders, wav2=folders / "wav2", shares=shares)
    assert len(dataset) == 27 + 3 and count_tracks(dataset) == 4
    for epoch in range(4):
        drawn = collections.Counter(values(dataset, ExampleKey(epoch, 0, index, index))[0] for index in range(len(dataset)))
        assert drawn[8.] in (22, 23) and sum(drawn.values()) == 30
        assert dataset.describe(ExampleKey(epoch, 0, 29, 29)).startswith("other at ")


def test_shares_use_each_example_before_any_is_used_again():
    class Numbers(torch.utils.data.Dataset):
        def __init__(self, first, size):
            self.first, self.size = first, size

        def __len__(self):
            return self.size

        def __getitem__(self, key):
            return self.first + key.index
    dataset = Weighted([Numbers(0, 7), Numbers(100, 10)], [.7, .3], seed=1)
    drawn = [[dataset[ExampleKey(epoch, 0, index, index)] for index in range(len(dataset))] for epoch in range(50)]
    second = [number for epoch in drawn for number in epoch if number >= 100]
    assert len(second) == 50 * 5
    for turn in range(25):
        assert sorted(second[10 * turn:10 * turn + 10]) == list(range(100, 110))
    assert drawn[0] != drawn[2]
    assert drawn == [[dataset[ExampleKey(epoch, 0, index, index)] for index in range(17)] for epoch in range(50)]


@pytest.mark.parametrize("shares,message", [({"wav": 1.}, "the datasets of this training are wav, wav2"),
                                            ({"wav": 1., "musdb": 1.}, "the datasets of this training are wav, wav2")])
def test_shares_name_the_datasets_of_the_training(folders, shares, message):
    with pytest.raises(ConfigError, match=message):
        sets(folders, wav2=folders / "wav2", shares=shares)
