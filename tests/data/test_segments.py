"""Segments against those of published Demucs 4.1.0 (tests/golden/make_segments.py)."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.make_segments import CASES, COUNTS, OUTPUT, SOURCES, make_tracks
from torch.utils.data import ConcatDataset, Subset

from demucs.data.index import TrackIndex, TrackMeta, scan
from demucs.data.segments import SegmentDataset, describe


@pytest.fixture(scope="module")
def golden():
    with np.load(OUTPUT) as file:
        return dict(file)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    make_tracks(folder / "set")
    return scan(folder / "set", sources=SOURCES, normalize=True, cache_dir=folder / "cache")


def test_levels(index, golden):
    ours = np.array([[meta.mean, meta.std] for meta in index.tracks.values()])
    np.testing.assert_allclose(ours, golden["level"], rtol=1e-6, atol=1e-8)   # theirs are float32 sums


@pytest.mark.parametrize("case", CASES)
def test_examples(index, golden, case):
    settings, keep = CASES[case]
    dataset = SegmentDataset(index, sources=["mixture", *SOURCES] if case == "mixture" else SOURCES, **settings)
    assert len(dataset) == golden[f"{case}_size"]
    for place in keep:
        ours, theirs = dataset[place % len(dataset)], golden[f"{case}_{place}"]
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
        assert np.abs(ours.numpy() - theirs).max() < 1e-6, (case, place)


def test_number_of_examples(golden):
    for (seconds, segment, shift), expected in zip(COUNTS, golden["counts"]):
        meta = TrackMeta(length=int(44100 * seconds), samplerate=44100, mean=0., std=1., has_mixture=True)
        index = TrackIndex(Path("."), ("a",), {"track": meta})
        dataset = SegmentDataset(index, sources=["a"], segment=segment, shift=shift, samplerate=44100, channels=2)
        assert len(dataset) == expected, (seconds, segment, shift)


def test_mixture_is_the_sum_where_no_file_has_it(index, tmp_path):
    make_tracks(tmp_path / "set")
    for file in (tmp_path / "set").rglob("mixture.wav"):
        file.unlink()
    without = scan(tmp_path / "set", sources=SOURCES, normalize=True, cache_dir=tmp_path / "cache")
    settings = dict(sources=["mixture"], segment=0.02, samplerate=44100, channels=2)
    ours, theirs = SegmentDataset(without, **settings), SegmentDataset(index, **settings)
    assert len(ours) == len(theirs) and not any(meta.has_mixture for meta in without.tracks.values())
    for place in range(len(ours)):
        torch.testing.assert_close(ours[place], theirs[place], atol=1e-5, rtol=0)   # sums in another order
    assert not list((tmp_path / "set").rglob("mixture.wav")), "the dataset was written into"


def test_segment_that_starts_behind_the_end_is_silent(index):
    # a shift longer than the segment may place the last example at the very end of the track
    dataset = SegmentDataset(index.select(lambda name: name == "a/stereo"), sources=SOURCES, segment=0.05, shift=0.2,
                             samplerate=22050, channels=2, normalize=False)
    assert len(dataset) == 2
    assert dataset[0].abs().max() > 0.1 and dataset[1].shape == dataset[0].shape and dataset[1].abs().max() == 0


def test_places_and_pickling(index):
    dataset = SegmentDataset(index, sources=SOURCES, segment=0.03, shift=0.02, samplerate=44100, channels=2)
    same = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(same[11], dataset[11])
    located = [dataset.locate(place) for place in range(len(dataset))]
    assert len(set(located)) == len(dataset) and located == sorted(located)
    assert located[-1] == ("short", 0)
    for beyond in (-1, len(dataset)):
        with pytest.raises(IndexError):
            dataset[beyond]
    joined = ConcatDataset([dataset, Subset(dataset, [len(dataset) - 1, 3])])
    assert describe(joined, 3) == describe(joined, len(dataset) + 1) == "a/stereo at 0.1 s"
    assert describe(joined, len(dataset)) == "short at 0.0 s"
