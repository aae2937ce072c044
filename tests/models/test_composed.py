"""Hybrid models made from parts by their settings: one from the documentation, its files, and faulty settings."""

import copy
import re

import pytest
import torch
import yaml
from compositions import resolved
from models.test_zoo import SOURCES, small

from demucs.building import build_model
from demucs.config import read
from demucs.errors import ConfigError, PackageError
from demucs.models import zoo
from demucs.models.hybrid.composition import changed
from demucs.models.protocol import normalizes_songs
from demucs.packages import package, publish
from demucs.separation.song import separate_song
from demucs.training.distributed import _WithUnusedParameter


def merged(base, changes):
    """As Hydra merges the file of a variant into the configuration."""
    for key, value in changes.items():
        base[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base


def test_the_variant_of_the_documentation(repository):
    """Its text alone makes a model that trains."""
    page = (repository / "docs" / "models.md").read_text()
    text, = re.findall(r"<!-- a variant of your own -->\n```yaml\n(.*?)```", page, re.DOTALL)
    assert text.startswith("# @package _global_\n") and len(text.splitlines()) <= 15
    plain = merged(copy.deepcopy(resolved(["dset.samplerate=8000", "dset.segment=3"])), yaml.safe_load(text))
    model = build_model(read(plain))
    assert [branch.name for branch in model.branches] == ["short", "long", "time"]
    assert model.zoo_name == "hybrid" and normalizes_songs(model)
    mix = torch.randn(1, 2, 8000)
    model(mix).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    mixers = {site: mixer for site, (mixer,) in model._mixers.items()}
    assert set(mixers) == {"encoder.1", "decoder.1"} and mixers["encoder.1"] is mixers["decoder.1"]
    with torch.no_grad():
        estimates = separate_song(model.eval(), 0.1 * torch.randn(2, 20_000), shifts=0)
    assert estimates.shape == (4, 2, 20_000) and torch.isfinite(estimates).all()


@pytest.mark.parametrize("name", ["hybrid", "htdemucs_nn"])
def test_files(name, tmp_path):
    """Our package and safetensors; published Demucs has no class for them."""
    model = small(name).eval()
    model.after_step()
    card = package.new_card(model, signature="abc", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "abc.th", card=card)
    publish.save(model, tmp_path / "other.safetensors", card=card, kind="safetensors", half=False)
    mix = torch.randn(1, 2, 4000)
    for file in ("abc.th", "other.safetensors"):
        loaded = package.load(tmp_path / file)
        assert loaded.zoo_name == name and loaded.state_dict().keys() == model.state_dict().keys()
        with torch.no_grad():
            assert torch.equal(loaded(mix), model(mix))
    with pytest.raises(PackageError, match=f"published Demucs has no class for a model {name}; export it in plain format"):
        publish.save(model, tmp_path / "abc_demucs.th", card=card, kind="demucs")


def test_a_file_cannot_ask_for_any_class(tmp_path):
    model = small("hybrid")
    card = package.new_card(model, signature="abc", epochs_done=1, epochs=1, valid={}, argv=[])
    path = tmp_path / "abc.safetensors"
    publish.save(model, path, card=card, kind="safetensors", half=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"demucs.models.zoo.hybrid", b"demucs.models.zoo.settin"))
    with pytest.raises(PackageError):
        package.load(path)


def test_changes_of_a_row():
    row = {"a": {"x": 1, "y": 2}, "b": {}, "c": [1]}
    assert changed(row, None, "s") is row and changed(None, {"a": 1}, "s") == {"a": 1}
    assert changed(row, {"a": {"x": 3}, "c": [2, 3], "d": {"z": 1}}, "s") == {
        "a": {"x": 3, "y": 2}, "b": {}, "c": [2, 3], "d": {"z": 1}}
    assert changed(row, {"b": None, "a": {"y": None}}, "s") == {"a": {"x": 1}, "c": [1]}
    assert row == {"a": {"x": 1, "y": 2}, "b": {}, "c": [1]}
    n = zoo.build("htdemucs_n", sources=SOURCES, audio_channels=2, samplerate=8000, segment=2, channels=8,
                  mixers={"crosstransformer": None}, branches={"nfft_2048": None}, levels={"freq_emb": 0})
    assert len(n.branches) == 3 and not hasattr(n, "crosstransformer") and not hasattr(n, "freq_embeddings")


def test_gates_and_channels_of_a_mixer():
    model = small("hybrid", branches={"frequency": {"nfft": 512}, "time": {}}, fusion=None, depth=2, mixers={
        "mixer": {"at": ["bottom"], "layers": 1, "bottom_channels": 8, "heads": 2, "gates": True}})
    assert model.mixer_gate.shape == () and model.channel_upsampler_t.weight.shape == (8, 16, 1)
    model(torch.randn(1, 2, 4000)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("settings, words", [
    ({"branches": {"a": {"nfft": 3}}}, "branches.a.nfft=3 must be"),
    ({"branches": {"a": {"nfft": 1000, "overlap": 16}}}, "1000 samples cannot overlap 16 times"),
    ({"branches": {"a": {"kernal_size": 3}}}, "branches.a has no setting 'kernal_size'.*Did you mean 'kernel_size'"),
    ({"branches": {"a": {"kernel_size": [8, 8]}}}, r"branches.a.kernel_size=\[8, 8\] has 2 numbers, and needs 4"),
    ({"branches": {"a": {"kernel_size": 2}}}, "branches.a: level 0 with kernel 2, stride 4 and padding -1 would leave out"),
    ({"branches": {"a": {"nfft": 64}}}, "branches.a: level 2 .* leaves no frequency|does not divide"),
    ({"branches": {"a": {"growth": 20}}}, "channels=8 and growth=20 make"),
    ({"branches": {"a": {"rewrite": 1}}}, "branches.a.rewrite=1 must be true or false"),
    ({"branches": {"a": {"channels": True}}}, "branches.a.channels=True must be a number"),
    ({"branches": {"a": {"norm_starts": 0, "channels": 6}}}, "norm_groups=4 does not divide"),
    ({"branches": {"a": 3}}, "branches.a=3 must be a section"), ({"branches": [1]}, r"branches=\[1\] must be a section"),
    ({"branches": {"t": {"joins": "x"}}}, "branches.t.joins='x'"),
    ({"branches": {"f": {"nfft": 512}, "t": {"joins": "f"}}}, "must be the one that leaves a single frequency|they meet"),
    ({"branches": {"t": {}}, "fusion": {"kind": "weights"}, "mixers": None}, "fusion.kind=weights combines branches"),
    ({"fusion": {"kind": "mean"}}, "fusion.kind='mean' is unknown"), ({"fusion": {"kind": "unet", "width": 4}}, "must be odd"),
    ({"fusion": {"kind": "unet", "depth": 12}}, "fusion.channels=24 and fusion.depth=12"),
    ({"mixers": {"m": {"at": "top"}}}, "mixers.m.at: there is no place 'top'"),
    ({"mixers": {"m": {"layer": 3}}}, "mixers.m has no setting 'layer'.*Did you mean 'layers'"),
    ({"mixers": {"m": {"layers": 1000}}}, "mixers.m.layers=1000 must be"),
    ({"mixers": {"m": {"kernel": "soft", "resolutions": "weights"}}}, "kernel='soft' is unknown"),
    ({"mixers": {"m": {}}}, "mixers.m: at bottom it needs a branch with a spectrogram and one on the waveform"),
    ({"mixers": {"m": {"pattern": "self"}}}, "pattern=self is for a single branch"),
    ({"mixers": {"m": {"resolutions": "mean"}}}, "mixers.m.resolutions='mean' is unknown"),
    ({"mixers": {"m": {"resolutions": "weights", "gates": True}}}, "gates are for mixers without resolutions"),
    ({"mixers": {"encoder": {"resolutions": "weights"}, "encoders": {"at": "encoder.0", "resolutions": "weights"}}},
     "two parts called"),
    ({"mixers": {"a b": {}}}, "'a b' cannot be the name of a module"),
    ({"mixers": {name: {"resolutions": "weights"} for name in "ab"}}, "mixers.b.at: there is another mixer at bottom"),
    ({"growth": [2, 2]}, r"growth=\[2, 2\] has 2 numbers, and needs 3"),
])
def test_faulty_settings(settings, words):
    """Each is one line that names the setting."""
    with pytest.raises(ConfigError, match=words) as caught:
        small("hybrid", **settings)
    assert "\n" not in str(caught.value)


def test_a_segment_that_is_too_short_for_its_levels():
    with pytest.raises(ConfigError, match="segment=0.05 s is too short for its levels, which need at least 513 samples"):
        small("htdemucs_i", segment=0.05)


def test_short_input_where_nothing_pads_it():
    model = small("htdemucs_d", channels=16, use_train_segment=False).eval()
    with torch.no_grad():
        for length in (1, 100):
            assert model(torch.ones(1, 2, length)).shape == (1, 4, 2, length)


def test_every_tensor_is_seen_by_ddp():
    """Buffers are those that DDP sends to all ranks, and the step hook changes them in place."""
    model = small("htdemucs_nn")
    wrapped = dict(_WithUnusedParameter(model).named_buffers())
    model.fusion_weights.data[0] = 3
    model.after_step()
    assert wrapped["model.weight_ema"] is model.weight_ema and wrapped["model.weight_ema"].std() > 0.01
