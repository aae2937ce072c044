"""The loss of Open-Unmix: squared errors of magnitudes, with its network and with every other model."""

import pytest
import torch
from torch.nn import functional as F
from training.small import settings, solver_in
from training.test_every_model import SMALL

from demucs.dsp.spectral import magnitudes
from demucs.errors import ConfigError
from demucs.metrics.nsdr import nsdr
from demucs.models import zoo
from demucs.separation.apply import separate
from demucs.training.objectives import Batch, build_objective
from demucs.training.precision import Precision

pytestmark = pytest.mark.runs


def model(name="openunmix", sources=("vocals",), **more):
    torch.manual_seed(0)
    small = {"hidden_size": 8, "nfft": 256, "nhop": 64} if name.startswith("openunmix") else {
        "channels": 4, "nfft": 512, "depth": 2, "kernel_size": 4, "stride": 2, "dconv_lstm": 9, "dconv_attn": 9,
        "norm_starts": 9}
    return zoo.build(name, sources=list(sources), audio_channels=2, samplerate=8000, segment=1, **{**small, **more})


def batch(sources=1, examples=2, length=4000):
    torch.manual_seed(1)
    targets = torch.randn(examples, sources, 2, length)
    return Batch(targets.sum(1) + torch.randn(examples, 2, length), targets)


def objective(net, weights=None):
    return build_objective("magnitude_mse", net, targets=net.sources, weights=weights or [1.] * len(net.sources))


def test_the_loss_of_the_network_itself():
    net, given = model(nb_layers=1), batch()
    x = magnitudes(given.mixture, n_fft=256, hop=64)
    loss, metrics = objective(net).loss(net, given)
    expected = F.mse_loss(net.masked(x), magnitudes(given.targets[:, 0], n_fft=256, hop=64))
    assert torch.equal(loss, expected) and loss.requires_grad and not objective(net).summed
    assert metrics.keys() == {"reco", "reco_vocals"} and metrics["reco"] == loss and not metrics["reco"].requires_grad


def test_weights_of_targets():
    net, given = model("openunmix_separator", ("drums", "vocals"), nb_layers=1), batch(2)
    loss, metrics = objective(net, [1., 3.]).loss(net, given)
    assert torch.allclose(loss, (metrics["reco_drums"] + 3 * metrics["reco_vocals"]) / 4)


def test_any_model_by_its_waveforms():
    net, given = model("hdemucs", ("drums", "vocals")), batch(2, length=8000)
    found = objective(net)
    assert (found.n_fft, found.hop, found.from_model) == (4096, 1024, False)
    loss, _ = found.loss(net, given)
    stft = {"n_fft": 4096, "hop": 1024}
    assert torch.allclose(loss, F.mse_loss(magnitudes(net(given.mixture), **stft), magnitudes(given.targets, **stft)))
    loss.backward()


def test_examples_shorter_than_a_window():
    """They end in silence, so that there is one frame."""
    net = model(nb_layers=1)
    loss, _ = objective(net).loss(net, batch(length=100))
    assert torch.isfinite(loss)


def test_mixed_precision():
    net, given = model(nb_layers=1), batch()
    loss, _ = objective(net).loss(Precision("bf16").forward_of(net), given)
    exact, _ = objective(net).loss(net, given)
    assert loss.dtype == torch.float32 and torch.allclose(loss, exact, rtol=0.02)


@pytest.mark.parametrize("name, sources", [("openunmix", ["vocals"]), ("openunmix_separator", ["drums", "vocals"]),
                                           ("hdemucs", ["drums", "vocals"])])
def test_validation(name, sources):
    net, given = model(name, sources).eval(), batch(len(sources), examples=1, length=9000)
    found = objective(net)
    with torch.no_grad():
        scores = found.score(net, given, lambda mix: separate(net, mix, shifts=0))
        estimates = separate(net, given.mixture, shifts=0)
        spectra = magnitudes(estimates, n_fft=4096, hop=1024)
        if found.from_model:
            spectra = net(given.mixture, magnitudes=True)
    expected = F.mse_loss(spectra, magnitudes(given.targets, n_fft=found.n_fft, hop=found.hop))
    assert torch.allclose(scores["loss"], expected) and torch.allclose(scores["reco"], expected)
    assert torch.allclose(scores["nsdr"], nsdr(given.targets, estimates).mean())
    assert {f"{metric}_{source}" for metric in ("reco", "nsdr") for source in sources} < scores.keys()


def test_outputs_that_are_no_networks():
    net = model("openunmix_separator", ["vocals", "rest"], targets=["drums", "vocals"],
                aggregate={"vocals": ["vocals"], "rest": ["drums"]})
    with pytest.raises(ConfigError, match="the networks, drums, vocals, and the outputs of the model are vocals, rest"):
        objective(net)


def test_every_whole_song_counts_the_same(songs, tmp_path):
    """A long one no more than a short one."""
    config = settings(songs, "model=openunmix", *SMALL["openunmix"], "optim.loss=magnitude_mse", "epochs=1",
                      "max_batches=1", "ema.batch=[]", "ema.epoch=[]", "svd.penalty=0")
    solver = solver_in(tmp_path / "x", config)
    solver.run()
    valid, net = solver.valid, solver.model.eval()
    whole = [song.clone() for song in valid.loader]
    valid.loader = [whole[0], whole[0][..., :6000], whole[0][..., :3000]]
    with torch.no_grad():
        each = [F.mse_loss(net(song[:, 0], magnitudes=True),
                           magnitudes(valid.targets(song[:, 1:]), n_fft=512, hop=128)).item() for song in valid.loader]
    valid.max_batches = None
    assert valid.run(0, "main")["loss"] == pytest.approx(sum(each) / 3, rel=1e-6)


def test_every_model_has_it(songs, tmp_path):
    config = settings(songs, "model=hdemucs", "optim.loss=magnitude_mse", "epochs=1", "max_batches=1")
    solver = solver_in(tmp_path / "x", config)
    solver.run()
    assert solver.history[0].valid["loss"] > 0


def test_an_unknown_loss(songs):
    with pytest.raises(ConfigError, match="optim.loss='magnitudes' is unknown; use one of l1, mse, magnitude_mse"):
        settings(songs, "optim.loss=magnitudes")

