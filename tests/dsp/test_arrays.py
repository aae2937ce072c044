"""Functions on numpy arrays give the results of those on tensors, without torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from golden.apply_cases import ToySeparator

from demucs.dsp import arrays, convert
from demucs.dsp.overlap_add import OverlapAdd
from demucs.separation.apply import separate

pytestmark = pytest.mark.runs


@pytest.mark.parametrize("lead", [0, 70])
def test_overlap_add_is_what_separation_does(lead, monkeypatch):
    from demucs.separation import plan as plans
    monkeypatch.setattr(plans, "shift_leads", lambda *_: [lead])
    torch.manual_seed(0)
    model, mix = ToySeparator(), torch.randn(1, 2, 1003)
    size = int(model.segment * model.samplerate)
    plan = OverlapAdd(1003, segment=size, stride=int(0.75 * size), lead=lead)
    padded = torch.nn.functional.pad(mix, (lead, 0))
    with torch.no_grad():
        pieces = [model(padded[..., chunk.start + lead:chunk.stop + lead])[0].numpy() for chunk in plan.chunks]
    expected = separate(model, mix, shifts=1)[0]
    np.testing.assert_allclose(arrays.overlap_add(pieces, plan), expected.numpy(), rtol=0, atol=1e-6)


def test_level(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK", 77)
    wav = np.random.default_rng(0).standard_normal((2, 1000)) + 3
    mono = torch.from_numpy(wav).mean(0)
    mean, std = arrays.level(lambda start, frames: wav[:, start:start + frames], 1000)
    assert mean == pytest.approx(float(mono.mean()), abs=1e-12) and std == pytest.approx(float(mono.std()), rel=1e-12)


@pytest.mark.parametrize("rates", [(44100, 22050), (22050, 44100), (48000, 44100), (44100, 16000), (8000, 8000)])
@pytest.mark.parametrize("length", [1, 50, 5000])
def test_resampling(rates, length):
    wav = np.random.default_rng(1).standard_normal((2, 3, length)).astype(np.float32)
    found, rough = arrays.resample(wav, *rates), convert.resample(torch.from_numpy(wav), *rates).numpy()
    assert found.shape == rough.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, rough, rtol=0, atol=1e-4)        # its filters are computed in float32


def test_without_torch():
    code = "import sys, demucs.dsp.arrays, demucs.dsp.overlap_add; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True).stdout == "False\n"
