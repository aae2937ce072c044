"""The layouts of Open-Unmix: random choices and lengths of examples, and what its own datasets do wrong with them."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from data.openunmix_songs import FILES, RATE, constant, levels, make, sets
from data.songs import noise, write

from demucs.data.build import build_policy, require_one_length, training_sets
from demucs.data.kinds.file_names import FileNames
from demucs.data.sampler import EpochSampler, ExampleKey
from demucs.data.segments import Chosen, count_tracks
from demucs.errors import ConfigError


# Random choices.

def sounds(root, counts=(3, 4), seconds=4.):
    """Sounds of constant values: 0.1, 0.2, ... of "target" and 0.01, 0.02, ... of "noise"."""
    for split in ("train", "valid"):
        for number in range(counts[0]):
            constant(root / split / "target" / f"{number}.wav", (number + 1) / 10, seconds)
        for number in range(counts[1]):
            constant(root / split / "noise" / f"{number}.wav", (number + 1) / 100, seconds)
    return FileNames(target="target", interferers=["noise"])


def test_sources_of_a_mixture_are_drawn_independently_and_uniformly(tmp_path):
    """Openunmix seeds its generator once per source in the validation, so that all sources get the same draws."""
    files = sounds(tmp_path / "db")
    train, valid = sets("sourcefolder", tmp_path / "db", files=files, train_samples=2400, valid_draws=2400)
    assert (len(train), len(valid)) == (2400, 2400)
    for dataset in (train, valid):
        found = [dataset.describe(ExampleKey(0, 0, index, index)) for index in range(2400)]
        counts = {pair: found.count(pair) for pair in set(found)}
        assert set(counts) == {f"target/{a}.wav + noise/{b}.wav" for a in range(3) for b in range(4)}
        # a twelfth of 2400 examples each, within 4.5 standard deviations of a binomial distribution
        assert all(abs(count - 200) < 4.5 * (2400 * 11 / 144) ** .5 for count in counts.values())


def test_positions_of_the_sources_are_independent_and_uniform(tmp_path):
    ramp = np.linspace(0, 1, 4 * RATE)[:, None]
    for split in ("train", "valid"):
        for source in ("target", "noise"):
            write(tmp_path / "db" / split / source / "a.wav", ramp)
    files = FileNames(target="target", interferers=["noise"])
    train, valid = sets("sourcefolder", tmp_path / "db", files=files, channels=1, segment=.04, train_samples=300, valid_draws=300)
    for dataset, first in ((train, 0), (valid, 1)):
        starts = np.array([dataset[ExampleKey(0, 0, index, index)][first:first + 2, 0, 0].tolist() for index in range(300)])
        # uniform in [0, 0.99], within 4.5 standard deviations
        assert abs(np.corrcoef(starts.T)[0, 1]) < 4.5 / 300 ** .5 and starts.max() < .9901
        assert np.abs(starts.mean(0) - .495).max() < 4.5 * .99 / 12 ** .5 / 300 ** .5


def test_the_validation_is_the_same_in_every_epoch_on_every_rank_and_for_every_seed(tmp_path):
    files = sounds(tmp_path / "db")
    _, valid = sets("sourcefolder", tmp_path / "db", files=files, valid_draws=20)
    _, other = sets("sourcefolder", tmp_path / "db", files=files, valid_draws=20, seed=5)
    expected = [levels(valid[index]) for index in range(20)]
    assert expected == [levels(other[index]) for index in range(20)]
    assert expected == [levels(valid[ExampleKey(7, 3, 1, index)]) for index in range(20)]
    ranks = [[levels(Chosen(valid, range(rank, 20, 3))[place]) for place in range(len(range(rank, 20, 3)))] for rank in range(3)]
    assert expected == [ranks[index % 3][index // 3] for index in range(20)]
    for mixture, target, interferer in expected:
        assert mixture == pytest.approx(target + interferer, abs=1e-4)


def test_mixtures_for_statistics_are_central_segments_of_all_combinations(tmp_path):
    ramp = np.linspace(0, 1, 4 * RATE)[:, None]
    for split in ("train", "valid"):
        for number in (1, 2):
            write(tmp_path / "db" / split / "target" / f"{number}.wav", ramp * number / 4)
        write(tmp_path / "db" / split / "noise" / "a.wav", 0 * ramp)
        write(tmp_path / "db" / split / "noise" / "short.wav", 0 * ramp[:RATE // 2] + .125)
    files = FileNames(target="target", interferers=["noise"])

    def mixtures(**more):
        return sets("sourcefolder", tmp_path / "db", files=files, channels=1, train_samples=60, **more)[0].mixtures
    found = mixtures()
    starts = [round(float(found.read(number)[0, 0]), 2) for number in range(len(found))]
    assert len(found) == 60 and set(starts) == {.09, .19, .22, .31}      # 1.5 s of 4 s, of a quarter or a half
    assert starts == [round(float(mixtures(seed=8).read(number)[0, 0]), 2) for number in range(60)]
    assert found.read(0).shape == (1, RATE) and found.name(0).startswith("target/")
    before = found.key()
    assert before == mixtures(seed=8).key() != mixtures(segment=2.).key()
    constant(tmp_path / "db" / "train" / "noise" / "a.wav", .5, 3.)
    assert before != mixtures().key()


def test_training_mixtures_are_new_in_every_epoch_and_keyed_by_seed_and_example(tmp_path):
    """Openunmix without loader workers repeats its mixtures in every epoch, since the validation seeds its generator."""
    files = sounds(tmp_path / "db", (5, 5))
    train, valid = sets("sourcefolder", tmp_path / "db", files=files, train_samples=16)

    def epoch(number, dataset=train, ranks=1):
        found = {}
        for rank in range(ranks):
            sampler = EpochSampler(16, batch_size=8, world_size=ranks, rank=rank, seed=0)
            sampler.set_epoch(number)
            found.update({key[:3]: levels(dataset[key]) for keys in sampler for key in keys})
        return found
    first = epoch(0)
    assert levels(valid[0]) and epoch(1) != first and sorted(epoch(1).values()) != sorted(first.values())
    assert epoch(0) == first == epoch(0, ranks=2)
    assert epoch(0, sets("sourcefolder", tmp_path / "db", files=files, train_samples=16, seed=1)[0]) != first


@pytest.mark.parametrize("kind", FILES)
def test_no_global_random_generator_is_used_or_seeded(tmp_path, kind):
    train, valid = sets(kind, make(kind, tmp_path / "db"))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    train[0], valid[0], train[1]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("kind", FILES)
def test_the_order_of_the_file_system_has_no_effect(tmp_path, monkeypatch, kind):
    root = make(kind, tmp_path / "db", count=3)
    before, _ = sets(kind, root)
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(sorted(iterdir(self))))
    after, _ = sets(kind, root)
    assert before.names == after.names == sorted(before.names) and len(before.names) == (9 if kind == "sourcefolder" else 3)
    assert all(torch.equal(before[index], after[index]) for index in range(6))


def tracks_of_constants(root, count=3):
    for split in ("train", "valid"):
        for number in range(count):
            for row, source in enumerate(("vocals", "drums", "bass")):
                constant(root / split / f"{number}" / f"{source}.wav", (number + 1) / 10 + row / 100, 4.)
    return root


def test_random_track_mix_takes_the_target_of_each_track_once(tmp_path):
    """As openunmix: an epoch has the target of every track, each with interferers of random tracks."""
    root = tracks_of_constants(tmp_path / "db")
    train, _ = sets("trackfolder_fix", root, sampling="random_mix", per_track=1)
    assert [levels(train[index])[0] for index in range(3)] == [.1, .2, .3] and len(train) == 3
    train, _ = sets("trackfolder_fix", root, sampling="random_mix", per_track=90, segment=.02)
    found = [levels(train[ExampleKey(0, 0, index, index)]) for index in range(270)]
    pairs = [(round(drums - .01, 4), round(bass - .02, 4)) for _, drums, bass in found]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert set(counts) == {(a, b) for a in (.1, .2, .3) for b in (.1, .2, .3)}
    # a ninth of 270 mixes each, within 4.5 standard deviations of a binomial distribution
    assert all(abs(count - 30) < 4.5 * (270 * 8 / 81) ** .5 for count in counts.values())


def test_random_interferer_mix_takes_all_interferers_of_one_track(tmp_path):
    root = tracks_of_constants(tmp_path / "db")
    fixed, _ = sets("trackfolder_fix", root, sampling="interferer_mix", per_track=20, segment=.02)
    found = [levels(fixed[ExampleKey(0, 0, index, index)]) for index in range(60)]
    assert [vocals for vocals, _, _ in found] == [.1] * 20 + [.2] * 20 + [.3] * 20
    assert all(round(bass - drums, 4) == .01 for _, drums, bass in found)
    assert {round(drums - vocals, 4) for vocals, drums, _ in found} == {-.19, -.09, .01, .11, .21}
    variable, _ = sets("trackfolder_var", root, sampling="interferer_mix", per_track=20, segment=.02)
    found = [levels(variable[ExampleKey(0, 0, index, index)]) for index in range(60)]
    assert {rest for _, rest in found} == {.23, .43, .63} and {vocals for vocals, _ in found} == {.1, .2, .3}
    # the target and its interferers are at places of their own
    ramp = np.linspace(0, 1, 4 * RATE)[:, None]
    for source in ("vocals", "drums", "bass"):
        for number in range(3):
            write(root / "train" / f"{number}" / f"{source}.wav", ramp)
    fixed, _ = sets("trackfolder_fix", root, sampling="interferer_mix", per_track=20)
    starts = [fixed[ExampleKey(0, 0, index, index)][:, 0, 0].tolist() for index in range(20)]
    assert all(drums == bass != vocals for vocals, drums, bass in starts)


def test_one_random_segment_of_each_track_per_epoch(tmp_path):
    train, _ = sets("trackfolder_fix", tracks_of_constants(tmp_path / "db"), per_track=1)
    assert [levels(train[index]) for index in range(3)] == [[.1, .11, .12], [.2, .21, .22], [.3, .31, .32]]


def test_one_file_of_each_source(tmp_path):
    files = sounds(tmp_path / "db", (1, 1))
    train, valid = sets("sourcefolder", tmp_path / "db", files=files)
    assert levels(train[5]) == [.1, .01] and levels(valid[0]) == [.11, .1, .01] and len(train) == 1000 and len(valid) == 100
    assert count_tracks(train) == 2


# Lengths.

@pytest.mark.parametrize("kind", FILES)
def test_files_shorter_than_a_segment_are_followed_by_silence(tmp_path, kind):
    """Openunmix leaves them out without a message."""
    train, _ = sets(kind, make(kind, tmp_path / "db", seconds=.5))
    for index in range(6):
        example = train[index]
        assert example.shape[-1] == RATE and example[..., :RATE // 2].any() and not example[..., RATE // 2:].any()


@pytest.mark.parametrize("kind", FILES)
def test_whole_tracks(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    for sampling in ("grid", "random", "balanced", "random_mix") + (("interferer_mix",) if kind != "sourcefolder" else ()):
        train, valid = sets(kind, root, segment=0, sampling=sampling)
        assert train[0].shape[1:] == valid[0].shape[1:] == (2, 2 * RATE)
        assert len(train) == (1000 if kind == "sourcefolder" else 2 if sampling in ("grid", "random") else 6)
        require_one_length(train, 4, 1)
    for file in root.glob("train/train 1/*.wav" if kind != "sourcefolder" else "train/drums/sound 1.wav"):
        write(file, noise(1, 3.))
    train, _ = sets(kind, root, segment=0, sampling="random_mix")
    assert {train[index].shape[-1] for index in range(6)} <= {2 * RATE, 3 * RATE}
    require_one_length(train, 1, 2)
    with pytest.raises(ConfigError, match="has 16000 samples and .* 24000; set batch_size=2"):
        require_one_length(train, 4, 2)


def test_through_the_settings_of_a_training(tmp_path):
    root = make("sourcefolder", tmp_path / "db")
    train, valid = training_sets(
        kind="sourcefolder", musdb=root, use_musdb=True, sources=["vocals", "drums", "bass"], samplerate=RATE, channels=2,
        policy=build_policy("random_mix", segment=1, shift=1, seed=0), normalize=True, full_cv=True, train_valid=True,
        cache_dir=tmp_path / "cache", files=FILES["sourcefolder"].text(), train_samples=30, valid_draws=7, valid_samples=5)
    assert len(train) == 37 and len(valid) == 5
    mixture = train[0].sum(0)
    assert abs(float(mixture.mean(0).std()) - 1) < .01 and abs(float(mixture.mean())) < .1
