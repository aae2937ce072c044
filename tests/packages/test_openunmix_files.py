"""Folders that openunmix 1.3.0 writes (tests/golden/make_openunmix_files.py) are read as it means them, and what does not fit
is an error that says what."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.openunmix_files_cases import FOLDERS, HOP, NETWORK, RATE, SETTINGS, STRIDE, mixture

from demucs.errors import ConfigError, PackageError
from demucs.models import zoo
from demucs.models.separators import changed, joined
from demucs.packages import openunmix, openunmix_network, package
from demucs.separation.song import separate_song

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FILES = GOLDEN / "openunmix_files"
TOLERANCE = 1e-5          # of the largest sample


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "openunmix_files.npz") as file:
        return dict(file)


@pytest.fixture
def folder(tmp_path):
    """A copy of a folder, to be damaged."""
    def copy(name="trained"):
        return Path(shutil.copytree(FILES / name, tmp_path / name))
    return copy


def close_to(found, expected):
    expected = torch.from_numpy(expected)
    assert expected.abs().max() > 0.05      # there is something to compare
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_versions(golden):
    assert str(golden["versions"][0]).startswith("openunmix 1.3.0, torch 2.")


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_openunmix(name, golden, caplog):
    """All four targets, files with a hash and entries of older versions, one direction, mono, and a last epoch without best
    weights."""
    targets, channels, layers, unidirectional = FOLDERS[name]
    model = openunmix.load(FILES / name)
    assert set(model.sources) == set(targets) and not model.training
    if name == "trained":
        assert model.sources == ["drums", "bass", "other", "vocals"], "in the order of Demucs"
    assert (model.audio_channels, model.samplerate, model.nfft, model.nhop) == (channels, RATE, NETWORK["nfft"], HOP)
    settings = model.zoo_kwargs
    assert (settings["nb_layers"], settings["unidirectional"]) == (layers, unidirectional)
    assert (settings["hidden_size"], settings["bandwidth"]) == (NETWORK["hidden_size"], pytest.approx(3000, abs=20))
    found = separate_song(model, mixture(channels), shifts=0)[..., ::STRIDE]
    for source, wav in zip(model.sources, found):
        close_to(wav, golden[f"{name}/default/{source}"])
    assert ("last epoch in" in caplog.text) == (name == "unfinished")
    assert model.card.signature == name and model.card.sources == model.sources
    assert (model.card.epochs_done, model.card.epochs) == (5, 1000)
    assert model.card.valid[f"loss_{targets[0]}"] == 0.75
    assert model.card.model_hash == package.model_hash(model)


@pytest.mark.parametrize("name", SETTINGS)
def test_options_of_its_command(name, golden):
    given = dict(SETTINGS[name])
    if "aggregate" in given:
        given["aggregate"] = json.loads(given["aggregate"])
    if given.get("wiener_win_len", 1) is None:
        given["wiener_win_len"] = 0
    model = changed(openunmix.load(FILES / "trained"), **given)
    found = dict(zip(model.sources, separate_song(model, mixture(2), shifts=0)[..., ::STRIDE]))
    expected = {key.split("/")[2]: wav for key, wav in golden.items() if key.startswith(f"trained/{name}/")}
    assert set(found) == set(expected)
    for source, wav in found.items():
        close_to(wav, expected[source])


def test_one_target_needs_no_filter(golden):
    """What openunmix refuses: only one target, without a residual, and the default of one iteration."""
    model = openunmix.load(FILES / "trained", ["vocals"])
    assert model.niter == 0 and model.sources == ["vocals"]
    close_to(separate_song(model, mixture(2), shifts=0)[0, ..., ::STRIDE], golden["trained/no filter/vocals"])
    with pytest.raises(ConfigError, match="niter=1 needs at least two sources"):
        changed(model, niter=1)


def test_a_residual_of_another_name(golden):
    model = changed(openunmix.load(FILES / "trained"), residual="noise")
    assert model.sources == ["drums", "bass", "other", "vocals", "noise"]
    found = separate_song(model, mixture(2), shifts=0)[..., ::STRIDE]
    close_to(found[4], golden["trained/residual/residual"])
    both = changed(model, residual="noise", aggregate={"a": ["noise", "drums"], "b": ["vocals"]})
    close_to(separate_song(both, mixture(2), shifts=0)[0, ..., ::STRIDE],
             golden["trained/residual/residual"] + golden["trained/residual/drums"])
    assert changed(model, residual=False).sources == ["drums", "bass", "other", "vocals"]
    with pytest.raises(ConfigError, match="the residual cannot be called 'vocals'"):
        changed(model, residual="vocals")


def test_weights_are_not_copied():
    model = openunmix.load(FILES / "trained")
    other = changed(model, niter=0, targets=["bass"])
    assert other.target_models["bass"].fc1.weight.data_ptr() == model.target_models["bass"].fc1.weight.data_ptr()
    assert model.niter == 1 and len(model.sources) == 4


@pytest.mark.parametrize("given,message", [
    (dict(targets=["vocal"]), r"has no target 'vocal'\. Did you mean 'vocals'\? There are: drums, bass, other, vocals"),
    (dict(aggregate={"a": ["drum"]}), r"adds up 'drum', which is none of .*Did you mean 'drums'"),
    (dict(aggregate={"a": []}), "'a' must be a list of targets"), (dict(aggregate={"a": "drums"}), "must be a list"),
    (dict(aggregate={}), "aggregate must have the targets"), (dict(aggregate={"a": ["bass", "bass"]}), "more than once"),
    (dict(aggregate={"a": ["residual"]}), "adds up 'residual', which is none of"),
    (dict(targets=["bass"], aggregate={"a": ["drums"]}), "adds up 'drums', which is none of bass"),
    (dict(aggregate={"../x": ["drums"]}), "cannot be the name of a source"), (dict(niter=-1), "niter=-1"),
    (dict(wiener_win_len=-1), "wiener_win_len=-1")])
def test_settings_that_make_no_sense(given, message):
    with pytest.raises(ConfigError, match=message):
        changed(openunmix.load(FILES / "trained"), **given)


def test_settings_are_for_open_unmix():
    model = zoo.build("hdemucs", sources=["a", "b"], audio_channels=2, samplerate=8000, segment=2, channels=4, depth=2,
                      nfft=64)
    with pytest.raises(ConfigError, match="hdemucs is no model of Open-Unmix"):
        changed(model, niter=0)


# Damaged, incomplete and contradictory folders

def edited(path, **entries):
    content = json.loads(path.read_text())
    for key, value in entries.items():
        (content["args"] if key in content.get("args", {}) else content)[key] = value
    path.write_text(json.dumps(content))


def state_of(path):
    return torch.load(path, weights_only=True)


def refused(folder, message, targets=None):
    with pytest.raises(PackageError, match=message) as caught:
        openunmix.load(folder, targets)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    return str(caught.value)


def test_unknown_targets_get_the_nearest():
    with pytest.raises(ConfigError, match=r"trained: has no target 'vocal'\. Did you mean 'vocals'\?"):
        openunmix.load(FILES / "trained", ["vocal"])
    with pytest.raises(ConfigError, match="more than once"):
        openunmix.load(FILES / "trained", ["vocals", "vocals"])
    with pytest.raises(ConfigError, match="no target is chosen"):
        openunmix.load(FILES / "trained", [])


def test_a_checkpoint_of_another_target(folder):
    copy = folder()
    shutil.copy(copy / "vocals.json", copy / "drums.json")
    refused(copy, r"drums\.json: belongs to a training of 'vocals', not of 'drums'")


def test_weights_of_another_model(folder):
    copy = folder()
    net = zoo.build("hdemucs", sources=["a", "b"], audio_channels=2, samplerate=8000, segment=2, channels=4, depth=2, nfft=64)
    torch.save(net.state_dict(), copy / "vocals.pth")
    refused(copy, r"vocals\.pth: is no network of Open-Unmix: .*missing \(input_mean, .*unknown \(")
    torch.save({"weights": [1, 2]}, copy / "vocals.pth")
    refused(copy, r"vocals\.pth: the weights are not a dictionary of tensors")
    net = zoo.build("openunmix", sources=["vocals"], audio_channels=2, samplerate=RATE, segment=2, hidden_size=14, nfft=256,
                    nhop=64, bandwidth=3000)
    torch.save(net.state_dict(), copy / "vocals.pth")
    refused(copy, r"vocals\.pth: its weights have hidden_size=14, its settings say 12")


def test_entries_that_differ_are_named(folder):
    copy = folder()
    path = copy / "vocals.pth"
    state = state_of(path)
    state["bn1.bias"] = torch.zeros(13)
    del state["lstm.bias_hh_l1"]
    state["fc9.weight"] = torch.zeros(2)
    torch.save(state, path)
    refused(copy, r"1 of another shape \(bn1\.bias is \(13,\) instead of \(12,\)\); 1 missing \(lstm\.bias_hh_l1\); 1 unknown "
                  r"\(fc9\.weight\)")


@pytest.mark.parametrize("entries,message", [
    ({"hidden_size": 16}, "weights have hidden_size=12, its settings say 16"),
    ({"nfft": 512}, "weights have nfft=256, its settings say 512"),
    ({"nb_channels": 1}, "weights have nb_channels=2, its settings say 1"),
    ({"unidirectional": True}, "weights have unidirectional=False, its settings say True"),
    ({"bandwidth": 1000}, r"sees 97 bins, its settings say bandwidth=1000 Hz, which are 33"),
    ({"nfft": "x" * 500}, "its settings say 'xxx"), ({"args": [1]}, "args are a list")])
def test_settings_that_contradict_the_weights(entries, message, folder):
    copy = folder()
    edited(copy / "vocals.json", **entries)
    refused(copy, message)
    assert openunmix.load(copy, ["drums"]).sources == ["drums"], "the other targets are as before"


def test_settings_that_are_not_said_are_those_of_the_weights(folder):
    copy = folder()
    (copy / "vocals.json").write_text('{"args": {}}')
    (copy / "drums.json").write_text("{}")
    assert len(openunmix.load(copy).sources) == 4


@pytest.mark.parametrize("entries,message", [
    ({"nfft": 512}, "weights have nfft=256, its settings say 512"), ({"nb_channels": 1}, "nb_channels=2, its settings say 1"),
    ({"nhop": 0}, "nhop is 0; it must be"), ({"nhop": 500}, "nhop=500 at most half"), ({"nhop": None}, "nhop is None"),
    ({"sample_rate": 8000.5}, "sample_rate is 8000.5; it must be a whole number"), ({"sample_rate": "8000"}, "'8000'"),
    ({"sample_rate": float("inf")}, "sample_rate is inf"), ({"nfft": True}, "nfft is True")])
def test_transforms_that_make_no_sense(entries, message, folder):
    copy = folder()
    edited(copy / "separator.json", **entries)
    refused(copy, message)


@pytest.mark.parametrize("text,message", [
    ("", "not a JSON file"), ("[1]", "a list instead of settings"), ("{", "not a JSON file"), ("[" * 100_000, "not a JSON")])
@pytest.mark.parametrize("name", ["separator.json", "vocals.json"])
def test_damaged_settings(name, text, message, folder):
    copy = folder()
    (copy / name).write_text(text)
    refused(copy, rf"{name}: .*{message}")


def test_missing_files(folder, tmp_path):
    copy = folder()
    (copy / "vocals.pth").unlink()
    refused(copy, r"has no weights of 'vocals': neither vocals\.pth nor vocals-HASH\.pth nor vocals\.chkpnt")
    (tmp_path / "empty").mkdir()
    shutil.copy(copy / "separator.json", tmp_path / "empty")
    refused(tmp_path / "empty", "has no target: no file TARGET.json")
    refused(tmp_path / "nowhere", "cannot be read|no such file")


def test_other_files_are_ignored(folder):
    copy = folder()
    for name in ("notes.json", "list.json", ".hidden.json"):
        (copy / name).write_text("[1, 2]" if name == "list.json" else '{"a": 1}')
    (copy / "README.md").write_text("")
    (copy / "songs.json").mkdir()
    torch.save({}, copy / "extra.pth")
    assert len(openunmix.load(copy).sources) == 4


def test_names_of_targets_are_exact(folder):
    """A name that begins with another, also where the rest looks like a hash."""
    copy = folder("hashed")
    assert sorted(openunmix.load(copy).sources) == ["drums", "vocals", "vocals_lead"]
    path, = copy.glob("vocals_lead-*.pth")
    data = path.read_bytes()
    edited(copy / "vocals_lead.json", target="vocals_cafe0123")
    (copy / "vocals_lead.json").rename(copy / "vocals_cafe0123.json")
    path.rename(copy / "vocals_cafe0123.pth")
    assert sorted(openunmix.load(copy).sources) == ["drums", "vocals", "vocals_cafe0123"]
    (copy / "vocals.pth").write_bytes(data)
    refused(copy, r"several weights of 'vocals': vocals-\w+\.pth, vocals\.pth; keep one")


def test_the_hash_in_a_name_is_checked(folder):
    copy = folder("hashed")
    path, = copy.glob("drums-*.pth")
    data = path.read_bytes()
    path.unlink()
    good = hashlib.sha256(data).hexdigest()
    (copy / f"drums_{good[:12]}.pth").write_bytes(data)
    assert openunmix.load(copy, ["drums"])
    (copy / f"drums_{good[:12]}.pth").rename(copy / f"drums-{'0' * 8}.pth")
    refused(copy, rf"drums-00000000\.pth: is damaged, or was changed: its checksum is {good[:8]}, its name says 00000000")


def test_damaged_weights(folder):
    copy = folder()
    path = copy / "vocals.pth"
    data = path.read_bytes()
    path.write_bytes(data[:-300])
    refused(copy, r"vocals\.pth: ")
    path.write_bytes(data[:3000] + b"?" + data[3001:])
    refused(copy, r"vocals\.pth: .*damaged")
    path.write_bytes(b"")
    refused(copy, r"vocals\.pth: ")


class Evil:
    def __reduce__(self):
        return os.system, ("echo broken > broken",)


def test_files_cannot_run_code(folder, tmp_path, monkeypatch):
    copy = folder()
    monkeypatch.chdir(tmp_path)
    torch.save({"input_mean": Evil()}, copy / "vocals.pth")
    refused(copy, r"vocals\.pth: refused: it names .*system")
    copy = folder("unfinished")
    content = state_of(copy / "vocals.chkpnt")
    torch.save({**content, "scheduler": Evil()}, copy / "vocals.chkpnt")
    refused(copy, "refused")
    assert not (tmp_path / "broken").exists()


def test_sizes_that_would_need_all_memory(folder):
    """An entry may claim any shape over a few stored values, or over none."""
    copy = folder()
    state = state_of(copy / "vocals.pth")
    for name, value in (("fc1.weight", torch.zeros(1).expand(2 ** 20, 194)), ("fc1.weight", torch.zeros(2 ** 40, 0)),
                        ("output_mean", torch.zeros(1).expand(2 ** 40)), ("fc3.weight", torch.zeros(2 ** 50, 0))):
        torch.save({**state, name: value}, copy / "vocals.pth")
        refused(copy, r"vocals\.pth: ")
    torch.save({**state, "lstm.weight_ih_l9999": torch.zeros(1)}, copy / "vocals.pth")
    refused(copy, "nb_layers=10000, which must be")


def test_a_checkpoint_under_the_name_of_weights(folder):
    copy = folder("unfinished")
    (copy / "vocals.chkpnt").rename(copy / "vocals.pth")
    refused(copy, r"vocals\.pth: is a checkpoint of a training, not the weights; name it vocals\.chkpnt")


@pytest.mark.parametrize("name,value,message", [
    ("sample_rate", torch.tensor(44100.), "its sample_rate is 44100, expected 8000 Hz"),
    ("sample_rate", torch.zeros(2), r"its sample_rate is of shape \(2,\)"),
    ("stft.window", torch.hann_window(512), r"its stft\.window is of shape \(512,\), not the periodic Hann window of 256"),
    ("transform.0.window", torch.ones(256), "not the periodic Hann window"),
    ("transform.1.bias", torch.ones(256), r"1 unknown \(transform\.1\.bias\)")])
def test_entries_beside_the_network(name, value, message, folder):
    copy = folder()
    state = state_of(copy / "vocals.pth")
    torch.save({**state, name: value}, copy / "vocals.pth")
    refused(copy, message)


def test_networks_of_different_sizes(folder):
    copy = folder()
    net = zoo.build("openunmix", sources=["vocals"], audio_channels=2, samplerate=RATE, segment=2, hidden_size=14, nfft=256,
                    nhop=64, bandwidth=3000)
    torch.save(net.state_dict(), copy / "vocals.pth")
    edited(copy / "vocals.json", hidden_size=14)
    refused(copy, r"hidden_size is 14 for vocals \(vocals\.pth\) and 12 for drums \(drums\.pth\); keep them in folders")


def test_names_that_torch_reserves(folder):
    for name in ("keys", "a.b"):
        copy = folder()
        edited(copy / "vocals.json", target=name)
        (copy / "vocals.json").rename(copy / f"{name}.json")
        (copy / "vocals.pth").rename(copy / f"{name}.pth")
        refused(copy, f"a network cannot be called '{name}'")
        shutil.rmtree(copy)


def test_half_precision_and_views(folder, golden):
    """Weights of 16 bits, and entries that share memory, become tensors of their own in 32 bits."""
    copy = folder()
    state = state_of(copy / "vocals.pth")
    both = torch.cat([state["output_scale"], state["output_mean"]])
    state["output_scale"], state["output_mean"] = both[:129], both[129:]
    del state["bn1.num_batches_tracked"]          # as in files of torch 0.4.0
    torch.save(state, copy / "vocals.pth")
    model = openunmix.load(copy)
    close_to(separate_song(model, mixture(2), shifts=0)[3, ..., ::STRIDE], golden["trained/default/vocals"])
    torch.save({name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
               copy / "vocals.pth")
    model = openunmix.load(copy)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("sizes", [
    openunmix_network.Sizes(), openunmix_network.Sizes(hidden_size=30, nb_layers=1, bins=65, cropped=65, channels=3),
    openunmix_network.Sizes(hidden_size=15, nb_layers=5, unidirectional=True, bins=33, cropped=1, channels=1)])
def test_sizes_from_names_and_shapes(sizes):
    found = openunmix_network.sizes_of(openunmix_network.shapes(sizes), Path("x.pth"))
    assert found == sizes


# Separators of single networks

def test_networks_become_a_separator():
    model = openunmix.load(FILES / "trained")
    singles = {}
    for target in ("vocals", "drums"):
        singles[target] = zoo.build("openunmix", sources=[target], audio_channels=2, samplerate=RATE, segment=24, nhop=HOP,
                                    **NETWORK)
        singles[target].load_state_dict(model.target_models[target].state_dict())
    found = joined(singles)
    assert found.sources == ["drums", "vocals"] and found.niter == 1 and found.segment == 24
    expected = changed(model, targets=["vocals", "drums"])
    mix = mixture(2)
    assert torch.equal(separate_song(found, mix, shifts=0), separate_song(expected, mix, shifts=0))
    alone = changed(singles["vocals"], residual=True)
    assert alone.niter == 1 and alone.sources == ["vocals", "residual"]
    assert torch.equal(separate_song(alone, mix, shifts=0),
                       separate_song(changed(model, targets=["vocals"], residual=True), mix, shifts=0))
    assert changed(singles["vocals"]).niter == 0
    other = zoo.build("openunmix", sources=["bass"], audio_channels=2, samplerate=RATE, segment=24, nhop=HOP,
                      **{**NETWORK, "hidden_size": 14})
    with pytest.raises(ConfigError, match="hidden_size is 12 in vocals and 14 in run 3"):
        joined({"vocals": singles["vocals"], "run 3": other})
    with pytest.raises(ConfigError, match="one and two are both networks of vocals"):
        joined({"one": singles["vocals"], "two": singles["vocals"]})
    with pytest.raises(ConfigError, match="x is a model openunmix_separator of drums, bass"):
        joined({"x": model})


def test_a_separator_in_our_format(tmp_path):
    model = changed(openunmix.load(FILES / "trained"), residual="rest", niter=2, wiener_win_len=50)
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "x.th", card=card)
    again = package.load(tmp_path / "x.th")
    assert again.sources == model.sources and again.niter == 2
    mix = mixture(2)
    assert torch.equal(separate_song(again, mix, shifts=0), separate_song(model, mix, shifts=0))


def test_long_weights_history_and_log(folder, caplog):
    """Nothing is logged about a folder that is as it should be."""
    with caplog.at_level(logging.INFO):
        openunmix.load(folder())
    assert caplog.text == ""
