"""Scores summed over blocks are those of the formulas."""

import pytest
import torch

from demucs.errors import AudioError
from demucs.metrics import whole_track as module
from demucs.metrics.bsseval import si_sdr
from demucs.metrics.nsdr import nsdr
from demucs.metrics.whole_track import whole_track

TOLERANCE = 1e-9     # dB


@pytest.mark.parametrize("block", [7, 100, 2 ** 20])
def test_same_as_the_formulas(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    draw = torch.Generator().manual_seed(0)
    references = torch.randn(3, 2, 1000, generator=draw)
    noise = torch.randn(3, 2, 1000, generator=draw)
    estimates = 0.7 * references + torch.tensor([1e-3, 0.1, 3.])[:, None, None] * noise
    scores = whole_track(references, estimates)
    for name, expected in (("nsdr", nsdr(references.double(), estimates.double())),
                           ("si_sdr", si_sdr(references.double(), estimates.double()))):
        torch.testing.assert_close(scores[name], expected, atol=TOLERANCE, rtol=0)


def test_edges():
    wav = torch.randn(1, 1, 50, generator=torch.Generator().manual_seed(0))
    silence = torch.zeros_like(wav)
    references = torch.cat([wav, wav, silence, wav])
    estimates = torch.cat([wav, silence, wav, wav * float("nan")])
    scores = whole_track(references, estimates)
    assert scores["si_sdr"][0] == float("inf") and scores["si_sdr"][1:].isnan().all()
    assert scores["nsdr"][0] > 70 and abs(scores["nsdr"][1]) < 1e-6 and scores["nsdr"][2] < -70
    assert scores["nsdr"][3].isnan()


@pytest.mark.parametrize("shapes", [((1, 2, 5), (1, 2, 4)), ((2, 5), (2, 5)), ((1, 2, 0), (1, 2, 0))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(AudioError, match="of one shape"):
        whole_track(*(torch.zeros(shape) for shape in shapes))
