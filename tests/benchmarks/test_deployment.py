"""Weights in 8 bits of the benchmark of deployment, and its rows."""

import re
import sys

import pytest
import torch
from models.test_zoo import small

from benchmarks import bench_deployment as bench
from benchmarks import run
from demucs.data.synthetic.dataset import render_song
from demucs.models import zoo
from demucs.packages import package
from demucs.schema import SOURCES


def test_weights_in_8_bits():
    model = small("htdemucs_nc")
    rounded = bench.static(model)
    for before, after in zip(model.parameters(), rounded.parameters()):
        if before.dim() < 2:
            assert torch.equal(before, after)
            continue
        for one, other in zip(before.detach(), after.detach()):
            step = float(one.abs().max()) / 127
            assert float((one - other).abs().max()) <= 0.51 * step
            levels = (other / step).round()
            assert levels.abs().max() <= 127 and (other - levels * step).abs().max() <= 1e-4 * step
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count < bench.static_bytes(model) < 1.6 * count < bench.stored_bytes(model)


@pytest.mark.parametrize("name, parts", [
    ("openunmix", {"lstm"}), ("htdemucs_nn", {"crosstransformer.layers.0.linear1", "crosstransformer.layers_t.1.cross_attn.q"}),
    ("hdemucs", {"encoder.4.dconv.layers.0.3.lstm", "encoder.4.dconv.layers.0.3.linear"})])
def test_linear_layers_and_lstms_are_dynamic(name, parts):
    model = small(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():        # layer scales begin at 1e-4
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    changed = bench.dynamic(model)
    kinds = (torch.ao.nn.quantized.dynamic.Linear, torch.ao.nn.quantized.dynamic.LSTM)
    assert parts <= {key for key, part in changed.named_modules() if isinstance(part, kinds)}
    assert name != "openunmix" or bench.stored_bytes(changed) < bench.stored_bytes(model)
    mix = torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = model(mix), changed(mix)
    assert 0 < (found - expected).abs().max() < 0.2 * expected.abs().max()


def trained(steps=12):
    """A small model after some steps on a generated song, which separates better than silence would."""
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=44100, segment=1, channels=8, depth=2,
                      nfft=512)
    song = render_song(bench.SEED, "test", 0, 1.)
    stems = torch.stack([torch.from_numpy(song[source]).float() / 2 ** 15 for source in SOURCES])[None]
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = (model(stems.sum(1)) - stems).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def test_rows_of_a_trained_package(tmp_path, monkeypatch, capsys):
    """Loss of nSDR on generated songs: of the rounded weights, not of those before."""
    model = trained()
    card = package.new_card(model, signature="cafe0001", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "cafe0001.th", card=card)
    monkeypatch.setattr(sys, "argv", ["bench", "--model", str(tmp_path / "cafe0001.th"), "--seconds", "1", "--rounds", "1",
                                      "--songs", "1"])
    monkeypatch.setattr(bench, "LEVELS", 3)         # so coarse that a second of a small model loses something
    assert bench.main() == 0
    script, dynamic, _, static = run.parse(capsys.readouterr().out.strip().splitlines()[-1], "bench_deployment.py")
    assert script.name == "cafe0001 as TorchScript, 1 s on cpu" and script.error < 1e-5
    assert dynamic.ratio == pytest.approx(1, abs=0.05) and "+0.000 dB" in dynamic.name      # neither linear layers nor LSTM
    score, change = map(float, re.fullmatch(r"cafe0001, weights in int8 \(nSDR (.+) dB, (.+) dB\), size", static.name).groups())
    assert score > 0.5 and 0.001 < abs(change) < 0.5 and static.ratio > 2.5


def test_a_package_of_other_sources_is_refused(tmp_path, monkeypatch):
    model = small("htdemucs_nc", sources=["vocals"])
    card = package.new_card(model, signature="cafe0001", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "cafe0001.th", card=card)
    monkeypatch.setattr(sys, "argv", ["bench", "--model", str(tmp_path / "cafe0001.th"), "--seconds", "1", "--rounds", "1"])
    with pytest.raises(SystemExit, match="cafe0001.th: generated songs have drums, bass, other, vocals in stereo"):
        bench.main()
