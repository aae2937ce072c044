"""Separation span by span: the same estimates as at once, with memory independent of the song's length."""

import pytest
import torch
from golden.apply_cases import ToySeparator, ToyWithValidLength

from demucs.errors import ConfigError
from demucs.separation.apply import separate
from demucs.separation.bag import BagOfModels
from demucs.separation.stream import stream

SETTINGS = [dict(shifts=0), dict(shifts=0, overlap=0.6), dict(shifts=3, seed=5), dict(shifts=2, segment=0.7, overlap=0.),
            dict(shifts=0, split=False), dict(shifts=1, transition_power=2.), dict(shifts=2, workers=2)]


def song(length, seed=0):
    return torch.randn(2, 2, length, generator=torch.Generator().manual_seed(seed))


def toys(kind):
    torch.manual_seed(3)
    if kind == "bag":
        return BagOfModels([ToySeparator(), ToyWithValidLength()], [[1., 2.], [3., 0.]])
    return ToyWithValidLength() if kind == "valid length" else ToySeparator()


class Reading:
    """Recorder of the parts of a song that are read."""

    def __init__(self, mix):
        self.mix, self.asked = mix, []

    def __call__(self, start, stop):
        assert 0 <= start < stop <= self.mix.shape[-1]
        self.asked.append((start, stop))
        return self.mix[..., start:stop]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["one", "valid length", "bag"])
@pytest.mark.parametrize("block", [0.3, 2., 1000.])
def test_spans_join_to_the_whole(kind, settings, block):
    model, mix = toys(kind), song(1503)
    expected = separate(model, mix, **settings)
    spans = list(stream(model, Reading(mix), 1503, block=block, **settings))
    assert [span.start for span in spans] == [0, *torch.tensor([s.estimates.shape[-1] for s in spans]).cumsum(0)[:-1]]
    found = torch.cat([span.estimates for span in spans], dim=-1)
    if kind != "bag" and settings.get("shifts", 1) < 2:
        assert torch.equal(found, expected)          # the same additions in the same order
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    if block == 0.3 and settings.get("split", True):
        assert len(spans) > 3


@pytest.mark.parametrize("kind", ["valid length", "bag"])
def test_reading_moves_forward(kind):
    """Nothing is asked for that lies further back than a block, a piece and its context."""
    model, reading = toys(kind), Reading(song(20_000))
    reach = 3 * 100 * 3 + 2 * 100                        # of pieces of 3 seconds at most, at 100 Hz
    for _ in stream(model, reading, 20_000, block=2., shifts=2):
        pass
    furthest = 0
    for start, stop in reading.asked:
        assert start >= furthest - reach
        furthest = max(furthest, stop)


def test_unfinished_samples_are_all_that_is_kept():
    """A span is there before the reading has come much further."""
    model, reading = toys("one"), Reading(song(20_000))
    for span in stream(model, reading, 20_000, block=2., shifts=0):
        furthest = max(stop for _, stop in reading.asked)
        end = span.start + span.estimates.shape[-1]
        assert furthest - end <= 2 * int(model.segment * model.samplerate) or end == 20_000


@pytest.mark.parametrize("block", [0, -1.])
def test_a_block_has_a_length(block):
    with pytest.raises(ConfigError, match=f"block={block}"):
        stream(toys("one"), Reading(song(100)), 100, block=block)
