"""Segments against those of published Demucs 4.1.0 (tests/golden/make_segments.py)."""

import pickle

import numpy as np
import pytest
import torch
from golden.make_segments import CASES, COUNTS, OUTPUT, SOURCES, make_tracks

from demucs.data.index import TrackIndex, TrackMeta, scan
from demucs.data.kinds.folders import folder_tracks
from demucs.data.sampler import ExampleKey
from demucs.data.segments import Chosen, Grid, Joined, Random, SegmentDataset, Whole
from demucs.data.targets import REST


def scanned(root, cache):
    return scan(folder_tracks(root, SOURCES), sources=SOURCES, normalize=True, cache_dir=cache)


def segments(index, *, segment=None, shift=None, **form):
    return SegmentDataset(index, policy=Whole() if segment is None else Grid(segment, shift or segment), **form)


@pytest.fixture(scope="module")
def golden():
    with np.load(OUTPUT) as file:
        return dict(file)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    make_tracks(folder / "set")
    return scanned(folder / "set", folder / "cache")


def test_levels(index, golden):
    ours = np.array([[meta.mean, meta.std] for meta in index.tracks.values()])
    np.testing.assert_allclose(ours, golden["level"], rtol=1e-6, atol=1e-8)   # theirs are float32 sums


@pytest.mark.parametrize("case", CASES)
def test_examples(index, golden, case):
    settings, keep = CASES[case]
    dataset = segments(index, sources=["mixture", *SOURCES] if case == "mixture" else SOURCES, **settings)
    assert len(dataset) == golden[f"{case}_size"]
    for place in keep:
        ours, theirs = dataset[place % len(dataset)], golden[f"{case}_{place}"]
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
        assert np.abs(ours.numpy() - theirs).max() < 1e-6, (case, place)


def test_number_of_examples(golden):
    for (seconds, segment, shift), expected in zip(COUNTS, golden["counts"]):
        meta = TrackMeta(length=int(44100 * seconds), samplerate=44100, mean=0., std=1., has_mixture=True)
        index = TrackIndex({"track": meta})
        dataset = segments(index, sources=["a"], segment=segment, shift=shift, samplerate=44100, channels=2)
        assert len(dataset) == expected, (seconds, segment, shift)


def test_mixture_is_the_sum_where_no_file_has_it(index, tmp_path):
    make_tracks(tmp_path / "set")
    for file in (tmp_path / "set").rglob("mixture.wav"):
        file.unlink()
    without = scanned(tmp_path / "set", tmp_path / "cache")
    settings = dict(sources=["mixture"], segment=0.02, samplerate=44100, channels=2)
    ours, theirs = segments(without, **settings), segments(index, **settings)
    assert len(ours) == len(theirs) and not any(meta.has_mixture for meta in without.tracks.values())
    for place in range(len(ours)):
        torch.testing.assert_close(ours[place], theirs[place], atol=1e-5, rtol=0)   # sums in another order
    assert not list((tmp_path / "set").rglob("mixture.wav")), "the dataset was written into"


def test_segment_that_starts_behind_the_end_is_silent(index):
    # a shift longer than the segment may place the last example at the very end of the track
    dataset = segments(index.select(lambda name: name == "a/stereo"), sources=SOURCES, segment=0.05, shift=0.2,
                             samplerate=22050, channels=2, normalize=False)
    assert len(dataset) == 2
    assert dataset[0].abs().max() > 0.1 and dataset[1].shape == dataset[0].shape and dataset[1].abs().max() == 0


def test_places_and_pickling(index):
    dataset = segments(index, sources=SOURCES, segment=0.03, shift=0.02, samplerate=44100, channels=2)
    same = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(same[11], dataset[11])
    located = [dataset.locate(place) for place in range(len(dataset))]
    assert len(set(located)) == len(dataset) and located == sorted(located)
    assert located[-1] == ("short", 0)
    for beyond in (-1, len(dataset)):
        with pytest.raises(IndexError):
            dataset[beyond]
    joined = Joined([dataset, Chosen(dataset, [len(dataset) - 1, 3])])
    assert joined.describe(3) == joined.describe(len(dataset) + 1) == "a/stereo at 0.1 s"
    assert joined.describe(len(dataset)) == "short at 0.0 s"
    assert torch.equal(joined[len(dataset) + 1], dataset[3]) and len(joined) == len(dataset) + 2
    with pytest.raises(IndexError):
        joined[len(joined)]


def test_random_segments_follow_from_their_key(index):
    """As many as of a grid, anywhere in their tracks, through datasets that are joined and chosen from."""
    form = dict(sources=SOURCES, samplerate=44100, channels=2, normalize=False)
    grid = SegmentDataset(index, policy=Grid(0.03, 0.02), **form)
    draws = [Joined([Chosen(SegmentDataset(index, policy=Random(0.03, 0.02, seed), **form), range(len(grid)))])
             for seed in (1, 1, 2)]
    assert len(draws[0]) == len(grid)
    keys = [ExampleKey(epoch, 3, 5, number) for epoch in (0, 1) for number in range(0, len(grid), 3)]
    first, again, other = ([drawn[key] for key in keys] for drawn in draws)
    assert all(map(torch.equal, first, again)) and not all(map(torch.equal, first, other))
    half = len(keys) // 2
    assert not all(map(torch.equal, first[:half], first[half:]))         # another place in every epoch
    whole = {name: torch.stack([index.read(name, source) for source in SOURCES]) for name in index.tracks}
    for key, example in zip(keys[:half], first):
        name, _ = grid.locate(key.index)
        meta = index.tracks[name]
        start, frames = Random(0.03, 0.02, 1).place(meta, 0, key)
        assert 0 <= start <= max(0, meta.length - frames)
        if meta.samplerate == 44100 and len(whole[name][0]) == 2 and meta.length >= frames:
            assert torch.equal(example, whole[name][..., start:start + frames][..., :example.shape[-1]])


def test_the_rest_of_a_song(index):
    """Behind one source alone: with it, it is the mixture."""
    form = dict(policy=Grid(0.03, 0.02), samplerate=44100, channels=2)
    alone = SegmentDataset(index, sources=[SOURCES[0], REST], **form)
    mixture = SegmentDataset(index, sources=["mixture"], **{**form, "normalize": False})
    plain = SegmentDataset(index, sources=[SOURCES[0], REST], **{**form, "normalize": False})
    for place in range(0, len(alone), 4):
        assert alone[place].shape[0] == 2
        torch.testing.assert_close(plain[place].sum(0), mixture[place][0], atol=1e-6, rtol=0)
