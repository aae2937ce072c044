"""Augmentation: the published order and distributions, and independence of how the batch is split.

Statistical tolerances: all draws are seeded, so a test passes always or never; each bound is about five standard
deviations of the statistic under the published distribution.
"""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from demucs.data.augment import Augment
from demucs.errors import ConfigError


def make(**changes):
    return Augment(**{**dict(seed=5, shift=40), **changes})


def batch(examples=8, sources=4, channels=2, length=200):
    return torch.randn(examples, sources, channels, length, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("ranks", [2, 4])
def test_split_over_ranks_changes_nothing(ranks):
    augment, sources = make(remix_group=2), batch()
    for epoch, step in ((0, 0), (0, 1), (3, 7)):
        whole = augment(sources, epoch=epoch, step=step)
        size = len(sources) // ranks
        parts = [augment(part, epoch=epoch, step=step, first=rank * size)
                 for rank, part in enumerate(sources.split(size))]
        assert torch.equal(torch.cat(parts), whole)


def test_each_place_draws_anew():
    augment, sources = make(), batch()
    results = [augment(sources, epoch=epoch, step=step) for epoch, step in ((0, 0), (0, 1), (1, 0))]
    results.append(make(seed=6)(sources, epoch=0, step=0))
    assert not any(torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])
    assert torch.equal(results[1], augment(sources, epoch=0, step=1))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_steps_in_published_order(channels):
    """Shift, flip channels, flip sign, scale, remix: one after the other, with the same draws."""
    augment, sources = make(), batch(channels=channels)
    before = sources.clone()
    draws = augment.draw(8, 4, epoch=2, step=3, first=0)
    expected = torch.empty(8, 4, channels, 160)
    for b in range(8):
        for s in range(4):
            offset = int(draws.offset[b, s])
            wav = sources[b, s, :, offset:offset + 160]
            if channels == 2 and draws.left[b, s]:
                wav = wav.flip(0)
            expected[b, s] = wav * float(draws.factor[b, s])
    expected = torch.stack([torch.stack([expected[draws.row[b, s], s] for s in range(4)]) for b in range(8)])
    assert torch.equal(augment(sources, epoch=2, step=3), expected)
    assert torch.equal(sources, before), "the input was changed"


def test_everything_off():
    augment = make(shift=0, flip=False, scale_proba=0, remix_proba=0)
    sources = batch(examples=3)
    result = augment(sources, epoch=0, step=0)
    assert torch.equal(result, sources) and result.data_ptr() != sources.data_ptr()


OFF = dict(shift=0, flip=False, scale_proba=0, remix_proba=0)


def alone(**changes):
    return make(**{**OFF, **changes})


def collect(augment, *names, steps, examples=8, sources=4):
    draws = [augment.draw(examples, sources, epoch=0, step=step, first=0) for step in range(steps)]
    return [np.stack([getattr(each, name) for each in draws]) for name in names]


def test_draws_of_one_purpose_do_not_depend_on_those_of_the_others():
    """So where one is tested, the rest is off."""
    offset, left, factor, row = collect(make(), "offset", "left", "factor", "row", steps=5)
    sign, = collect(alone(flip=True), "factor", steps=5)
    scale, = collect(alone(scale_proba=1), "factor", steps=5)
    assert np.array_equal(offset, *collect(alone(shift=40), "offset", steps=5))
    assert np.array_equal(left, *collect(alone(flip=True), "left", steps=5)) and np.array_equal(factor, sign * scale)
    assert np.array_equal(row, *collect(alone(remix_proba=1), "row", steps=5))


def test_shift_is_uniform():
    offsets, = collect(alone(shift=10), "offset", steps=500)
    counts = np.bincount(offsets.ravel(), minlength=10)
    assert len(counts) == 10, "the offset is below the shift"
    assert np.abs(counts - 1600).max() < 5 * math.sqrt(16000 * .1 * .9)
    same = (offsets[..., 0] == offsets[..., 1]).mean()
    assert abs(same - 0.1) < 5 * math.sqrt(.1 * .9 / 4000), "sources shift independently"
    together, = collect(alone(shift=10, shift_same=True), "offset", steps=50)
    assert (together == together[..., :1]).all() and len(set(together[..., 0].ravel())) == 10


def test_flips_are_fair_and_independent():
    left, sign = collect(alone(flip=True), "left", "factor", steps=500)
    assert set(left.ravel()) == {0, 1} and set(sign.ravel()) == {-1., 1.}
    tolerance = 5 * math.sqrt(.25 / 16000)
    assert abs(left.mean() - .5) < tolerance and abs((sign > 0).mean() - .5) < tolerance
    for a, b in ((left > 0, sign > 0), (left[..., 0], left[..., 1]), (sign[:, 0], sign[:, 1])):
        assert abs((a == b).mean() - .5) < 5 * math.sqrt(.25 / a.size)


def test_scale_is_uniform():
    scale, = collect(alone(scale_proba=1, scale_min=0.25, scale_max=1.25), "factor", steps=500)
    scale = scale.ravel()
    assert 0.25 <= scale.min() < 0.26 and 1.24 < scale.max() <= 1.25
    assert abs(scale.mean() - .75) < 5 * math.sqrt(1 / 12 / 16000)
    counts = np.histogram(scale, bins=10, range=(.25, 1.25))[0]
    assert np.abs(counts - 1600).max() < 5 * math.sqrt(16000 * .1 * .9)


def test_scale_and_remix_happen_to_whole_batches():
    factor, row = collect(alone(scale_proba=.3, remix_proba=.6), "factor", "row", steps=1000)
    scaled = (factor != 1).any(axis=(1, 2))
    assert (scaled == (factor != 1).all(axis=(1, 2))).all()
    remixed = (row != np.arange(8)[:, None]).any(axis=(1, 2))
    assert abs(scaled.mean() - .3) < 5 * math.sqrt(.21 / 1000)
    assert abs(remixed.mean() - .6) < 5 * math.sqrt(.24 / 1000)
    assert abs((scaled & remixed).mean() - .18) < 5 * math.sqrt(.15 / 1000)


def test_remix_draws_every_permutation_equally():
    rows, = collect(alone(remix_group=3, remix_proba=1), "row", steps=2000, examples=6, sources=2)
    for group in range(2):
        part = rows[:, 3 * group:3 * group + 3] - 3 * group
        assert (np.sort(part, axis=1) == np.arange(3)[:, None]).all(), "sources stay in their group"
        counts = Counter(tuple(order) for order in part.transpose(0, 2, 1).reshape(-1, 3))
        assert len(counts) == 6
        assert max(abs(count - 4000 / 6) for count in counts.values()) < 5 * math.sqrt(4000 / 6 * 5 / 6)
        same = (part[..., 0] == part[..., 1]).all(axis=1).mean()
        assert abs(same - 1 / 6) < 5 * math.sqrt(5 / 36 / 2000), "sources are permuted independently"


def test_group_of_the_whole_batch():
    rows, = collect(alone(remix_group=None, remix_proba=1), "row", steps=200, examples=8, sources=2)
    assert (np.sort(rows, axis=1) == np.arange(8)[:, None]).all()
    assert len({tuple(row) for row in rows[..., 0]}) > 190


def test_bad_numbers():
    with pytest.raises(ConfigError, match="2 examples per rank.*groups of 4"):
        make()(batch(examples=2), epoch=0, step=0)
    with pytest.raises(ConfigError, match="2 examples per rank.*groups of 4"):
        make(batch_size=16, world_size=8)
    with pytest.raises(ConfigError, match="4 examples per rank.*groups of 8"):
        make(remix_group=0, batch_size=8, world_size=2)   # the whole batch is spread over two ranks
    with pytest.raises(ConfigError, match="4 examples per rank.*groups of 8"):
        make(remix_group=0)(batch(examples=4), epoch=0, step=0, first=4)
    make(batch_size=16, world_size=4), make(remix_group=0, batch_size=8), make(remix_proba=0, batch_size=3)
    with pytest.raises(ConfigError, match="200 samples.*shift of 200"):
        make(shift=200)(batch(), epoch=0, step=0)
    with pytest.raises(ConfigError, match="shift=-1"):
        make(shift=-1)
    with pytest.raises(ConfigError, match="scale.min=2"):
        make(scale_min=2.)


@pytest.mark.gpu
def test_same_on_the_device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    augment, sources = make(), batch(length=100_000)
    assert torch.equal(augment(sources.cuda(), epoch=1, step=2).cpu(), augment(sources, epoch=1, step=2))


def test_the_sign_alone_can_be_switched_off():
    """Channels are swapped as before, and scales are positive."""
    settings = {"seed": 3, "shift": 0, "remix_proba": 0.}
    sources = torch.randn(6, 4, 2, 50)
    with_sign, without = (Augment(**settings, sign=sign)(sources, epoch=1, step=2) for sign in (True, False))
    assert torch.equal(with_sign.abs(), without.abs()) and not torch.equal(with_sign, without)
    draws = Augment(**settings, sign=False).draw(40, 4, epoch=0, step=0, first=0)
    assert (draws.factor > 0).all() and set(draws.left.flatten()) == {0, 1}


def test_same_draws_for_all_sources_act_on_the_mixture():
    """With the same shift, the augmented mixture is the mixture, shifted, flipped, and scaled; so is any sum of sources."""
    settings = {"seed": 5, "shift": 9, "shift_same": True, "remix_proba": 0.}
    sources = torch.randn(40, 4, 2, 64, generator=torch.Generator().manual_seed(1))
    augment = Augment(**settings, same=True)
    found = augment(sources, epoch=1, step=2)
    draws = augment.draw(40, 4, epoch=1, step=2, first=0)
    for example, (before, after) in enumerate(zip(sources, found)):
        offset, left, factor = (part[example, 0] for part in (draws.offset, draws.left, draws.factor))
        for stems in ([0, 1, 2, 3], [0, 1, 2]):
            whole = before[stems].sum(0)[:, offset:offset + 55].flip(0) if left else \
                before[stems].sum(0)[:, offset:offset + 55]
            torch.testing.assert_close(after[stems].sum(0), float(factor) * whole)
    assert set(draws.left[:, 0]) == {0, 1} and (draws.factor[:, 0] > 0).any() and (draws.factor[:, 0] < 0).any()
    assert len(set(draws.factor[:, 0])) == 40
    assert not torch.equal(found, Augment(**settings)(sources, epoch=1, step=2))
