"""Every model of the zoo trains, is validated, tested, exported in all formats, read again and separates; interrupted runs
end with the same bits."""

import preloaded
import pytest
import soundfile
import torch
from training.small import numbers, settings, solver_in, trained_in_parts, write_songs

from demucs import schema
from demucs.errors import PackageError
from demucs.models import zoo
from demucs.packages import package
from demucs.packages.export import export
from demucs.separation.apply import separate
from demucs.separation.song import separate_song

pytestmark = pytest.mark.runs

SMALL = {
    "demucs": ["demucs.channels=4", "demucs.depth=3", "demucs.lstm_layers=1"],
    "hdemucs": [],
    "htdemucs": ["htdemucs.channels=8", "htdemucs.t_layers=2", "htdemucs.t_dropout=0.1", "htdemucs.t_lr=1e-4"],
    "torch_hdemucs": ["torch_hdemucs.channels=4", "torch_hdemucs.dconv_comp=1"],
    "openunmix": ["dset.targets={vocals: [vocals]}", "weights=[1]", "openunmix.hidden_size=8", "openunmix.nfft=512",
                  "openunmix.nhop=128"],
    "openunmix_separator": ["openunmix_separator.hidden_size=8", "openunmix_separator.nfft=512",
                            "openunmix_separator.nhop=128"],
    "hybrid": ["hybrid.channels=8", "hybrid.depth=2", "hybrid.branches={a: {nfft: 512}, b: {nfft: 1024}, time: {}}",
               "hybrid.fusion={kind: weights}"],
    "htdemucs_i": ["htdemucs_i.channels=16", "htdemucs_i.branches={frequency: {nfft: 512, kernel_size: [8, 8, 8, 4, 4, 4], "
                   "stride: [4, 4, 4, 4, 1, 1], padding: [2, 2, 2, 0, 1, 1]}, "
                   "time: {kernel_size: [8, 8, 8, 4], stride: 4}}"],
    "htdemucs_nc": ["htdemucs_nc.channels=8", "htdemucs_nc.depth=3"],
    **{f"htdemucs_{name}": [f"htdemucs_{name}.channels=8"] for name in ("p", "c", "s")},
    **{f"htdemucs_{name}": [f"htdemucs_{name}.channels=8", f"htdemucs_{name}.growth=1"]
       for name in ("d", "d2", "d3", "d4", "n", "nn", "nn_conv", "nf")},
    **{f"htdemucs_{name}": [f"htdemucs_{name}.channels=8", f"htdemucs_{name}.growth=1",
                            f"htdemucs_{name}.fusion={{channels: 8, width: 5}}"] for name in ("dnf", "dn")},
}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_from_training_to_a_song(name, songs, tmp_path):
    config = settings(songs, f"model={name}", *SMALL[name], "epochs=1", "test.every=1", "max_batches=1")
    folder = tmp_path / "xps" / "abc"
    solver = solver_in(folder, config)
    before = [parameter.detach().clone() for parameter in solver.model.parameters()]
    solver.run()
    assert any(not torch.equal(old, new) for old, new in zip(before, solver.model.parameters()))
    assert solver.history[0].test["nsdr"] is not None
    assert ("combination" in schema.read_json(folder / "history.json")[0]) is (solver.model.combination() is not None)
    card = schema.load(schema.RunCard, folder / "run_card.json")
    assert card.model == name and card.model_settings["segment"] == float(config.segment)

    models = tmp_path / "models"
    export("abc", models, experiments=tmp_path / "xps")
    model = package.load(models / "abc.th")
    assert model.segment == config.segment
    mix = torch.randn(1, 2, 12_345)
    solver.model.load_state_dict(solver.best_state)
    expected = separate(solver.model, mix)
    assert torch.equal(separate(model, mix), expected)
    other_formats(name, tmp_path, mix, expected)
    by_the_command(model, models, tmp_path)


def other_formats(name, folder, mix, expected):
    """The formats of Demucs 4: safetensors for all models, packages for those that it has."""
    export("abc", folder / "hub", kind="safetensors", half=False, experiments=folder / "xps")
    error = (separate(package.load(folder / "hub" / "abc.safetensors"), mix) - expected).abs().max()
    assert error == 0 or name == "torch_hdemucs" and error < 1e-5      # written as the equivalent model of Demucs
    entry = zoo.MODELS[name]
    if entry.published or entry.written_as:
        export("abc", folder / "hub", kind="demucs", experiments=folder / "xps")
    else:
        with pytest.raises(PackageError, match=f"published Demucs has no class for a model {name}; export it in plain"):
            export("abc", folder / "hub", kind="demucs", experiments=folder / "xps")
    assert (folder / "hub" / "abc.th").exists() is bool(entry.published or entry.written_as)


def by_the_command(model, models, folder):
    """`demucs -n` writes what the model gives."""
    song = 0.1 * torch.randn(2, 8000)
    soundfile.write(folder / "song.wav", song.T.numpy(), 8000, subtype="FLOAT")
    done = preloaded.run("-m", "demucs", "--repo", models, "-n", "abc", "-o", folder / "out", "-d", "cpu", "--shifts", "0",
                         "--float32", folder / "song.wav")
    assert done.returncode == 0, done.stderr
    expected = separate_song(model, song, shifts=0)
    for source, stem in zip(model.sources, expected):
        written, _ = soundfile.read(folder / "out" / "abc" / "song" / f"{source}.wav", dtype="float32")
        # The level of the song is summed in blocks here.
        torch.testing.assert_close(torch.from_numpy(written.T), stem, rtol=0, atol=1e-6 * stem.abs().max().item(), msg=source)


THREE = "{nfft_2048: {nfft: 128}, nfft_4096: {nfft: 256}, nfft_8192: {nfft: 512}}"
SMALLER = {
    "htdemucs_nn": {"branches": THREE, "mixers": "{crosstransformer: {layers: 1, heads: 2}}"},
    "htdemucs_dn": {"branches": THREE, "mixers": "{crosstransformer: {layers: 1, heads: 2}}",
                    "fusion": "{channels: 4, width: 5}"},
    "htdemucs_s": {"branches": "{frequency: {nfft: 512}}", "levels": "{stride: 4}",
                   "mixers": "{crosstransformer: {layers: 2, heads: 2, hidden_scale: 1}}"},
    "hybrid": {"branches": "{a: {nfft: 128}, b: {nfft: 256}, time: {}}", "fusion": "{kind: weights}"}}


def smaller(name):
    """Overrides for a model of two narrow levels."""
    values = {"channels": 8, "growth": 1, "depth": 2, **SMALLER[name]}
    return [f"model={name}", *(f"{name}.{key}={value}" for key, value in values.items())]


# One with weights of a fusion and their moving averages, one with a U-Net, one with gates, one of its own parts.
@pytest.mark.parametrize("name", SMALLER)
def test_an_interrupted_run_ends_with_the_same_bits(name, tmp_path):
    config = settings(write_songs(tmp_path / "songs", held_out=0.5), *smaller(name), "epochs=1",
                      "max_batches=2", "batch_size=2", "augment.remix.group_size=2", "checkpoint.steps=1", "ema.epoch=[]")
    expected = solver_in(tmp_path / "straight", config)
    initial = {key: value.clone() for key, value in expected.model.state_dict().items()}
    expected.run()
    resumed = trained_in_parts(tmp_path / "parts", config)
    state = resumed.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in expected.model.state_dict().items())
    learnt = [key for key in state if "fusion" in key or "residual_weight" in key or key.endswith("ema")]
    assert learnt and not [key for key in learnt if torch.equal(state[key], initial[key])]
    assert numbers(resumed) == numbers(expected)
    assert resumed.history[0].combination == resumed.model.combination() is not None
