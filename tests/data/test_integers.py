"""Segments of 16-bit files, which are read as integers, equal those that are read in floating point."""

import numpy as np
import pytest
import torch
from data.songs import RATE, write

from demucs.data import segments
from demucs.data.build import build_policy, kind_sets
from demucs.data.index import TrackIndex
from demucs.data.sampler import ExampleKey


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("integers")
    for split in ("train", "valid"):
        for song, (channels, rate, suffix, subtype) in {
                "stereo": (2, RATE, ".wav", "PCM_16"), "mono": (1, RATE, ".wav", "PCM_16"), "flac": (2, RATE, ".flac", "PCM_16"),
                "other rate": (2, 2 * RATE, ".wav", "PCM_16"), "float": (2, RATE, ".wav", "FLOAT"),
                "wide": (2, RATE, ".wav", "PCM_24"), "four": (4, RATE, ".wav", "PCM_16")}.items():
            for seed, source in enumerate(("drums", "bass", "mixture")):
                wav = np.random.default_rng(seed).uniform(-1, 1, (int(2.3 * rate), channels))
                write(folder / split / song / f"{source}{suffix}", wav, rate, subtype)
    return folder


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("sampling", ["grid", "random_mix"])
def test_they_are_equal_bit_by_bit(root, tmp_path, monkeypatch, channels, normalize, sampling):
    monkeypatch.setattr(segments, "BLOCK", 1000)
    policy = build_policy(sampling, segment=1, shift=.7, seed=1, per_track=4)
    sets = kind_sets("wav", root, sources=["drums", "bass"], policy=policy, samplerate=RATE, channels=channels, normalize=normalize,
                     full_cv=True, cache_dir=tmp_path)
    keys = [ExampleKey(0, 0, index, index) for index in range(7)]
    fast = [[dataset[key] for key in keys] for dataset in sets]
    used = []
    original = TrackIndex.read_int16
    monkeypatch.setattr(TrackIndex, "read_int16", lambda self, *place: used.append(original(self, *place)))
    slow = [[dataset[key] for key in keys] for dataset in sets]
    assert any(samples is not None for samples in used) and any(samples is None for samples in used)
    for ours, theirs in zip(sum(fast, []), sum(slow, [])):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_the_last_segment_ends_in_zeros(root, tmp_path):
    policy = build_policy("grid", segment=1, shift=.7, seed=1)
    train, _ = kind_sets("wav", root, sources=["drums", "bass"], policy=policy, samplerate=RATE, channels=2, normalize=True, full_cv=True,
                         cache_dir=tmp_path)
    last = max(index for index in range(len(train)) if train.locate(index)[0] == "stereo")
    example = train[last]
    assert example.shape == (2, 2, RATE) and not example[:, :, -700:].any() and example[0, :, 0].all()
