"""Files written for published Demucs name only its classes, and Demucs 4.1.0 gives the same estimates with them."""

import dataclasses
import json
import os
import pickletools
import subprocess
import sys
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from golden.sharpen import sharpen

from benchmarks import environments
from demucs import separate as command
from demucs.errors import PackageError
from demucs.models import zoo
from demucs.packages import package, pickled, publish, published, quantised
from demucs.schema import ReleaseCard, load

pytestmark = pytest.mark.runs

COMMON = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 44100}
SETTINGS = {
    "hdemucs": dict(segment=0.8, channels=4, depth=3, nfft=256, dconv_lstm=2, dconv_attn=2, norm_starts=2, dconv_comp=2,
                    multi_freqs=[0.25], multi_freqs_depth=1),
    "demucs": dict(segment=0.8, channels=8, depth=3, lstm_layers=1, dconv_lstm=2, dconv_attn=2, norm_starts=2),
    "htdemucs": dict(segment=Fraction(7, 45), channels=4, depth=2, nfft=64, dconv_comp=2, bottom_channels=8, t_heads=2,
                     t_layers=3, t_emb="cape", t_cape_glob_loc_scale=[4000., 1., 1.3]),
    "torch_hdemucs": dict(segment=0.8, channels=4, depth=4, nfft=1024, norm_starts=2, dconv_lstm=2, dconv_attn=2),
}
FULL = 1e-5             # max abs of the songs' samples, of some 0.1, in float32
STEP = 2 ** -15         # of 16-bit samples


def made(name):
    torch.manual_seed(1)
    model = zoo.build(name, **COMMON, **SETTINGS[name]).eval()
    sharpen(model)
    return model


def card_of(model):
    return package.new_card(model, signature="cafe0001", epochs_done=2, epochs=5, valid={"nsdr": 1.5}, argv=["a=1"])


def answer(model):
    with torch.no_grad():
        return model(torch.randn(1, 2, 5000, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("kind", publish.KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_round_trip(name, kind, tmp_path):
    model = made(name)
    path = tmp_path / f"x{publish.KINDS[kind]}"
    written = published.save(model, path, kind=kind, half=False, card=card_of(model))
    before = torch.random.get_rng_state()
    again = package.load(path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.card == written == load(ReleaseCard, path.with_suffix(".json"))
    if name == "torch_hdemucs":      # in the class of Demucs that computes the same
        assert again.zoo_name == "hdemucs" and (answer(again) - answer(model)).abs().max() <= FULL
    else:
        assert again.zoo_name == name and torch.equal(answer(again), answer(model))
    assert again.zoo_kwargs == model.zoo_kwargs and again.segment == SETTINGS[name]["segment"]
    assert type(again.segment) is type(SETTINGS[name]["segment"])
    assert (written.valid, written.epochs_done, written.precision) == ({"nsdr": 1.5}, 2, "float32")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["x.json", path.name]


@pytest.mark.parametrize("kind", publish.KINDS)
def test_half_precision_is_the_default(kind, tmp_path):
    model = made("demucs")
    path = tmp_path / f"x{publish.KINDS[kind]}"
    assert published.save(model, path, kind=kind, card=card_of(model)).precision == "float16"
    for (name, rounded), exact in zip(package.load(path).named_parameters(), model.parameters()):
        assert torch.equal(rounded, exact.half().float()), name


def test_a_flipped_bit_is_seen(tmp_path):
    model = made("hdemucs")
    published.save(model, tmp_path / "x.th", half=False, card=card_of(model))
    data = bytearray((tmp_path / "x.th").read_bytes())
    place = data.find(next(model.parameters()).detach().numpy().tobytes()[:64])
    assert place > 0
    data[place + 2] ^= 1
    (tmp_path / "x.th").write_bytes(data)
    with pytest.raises(PackageError, match="x.th: the weights are damaged"):
        package.load(tmp_path / "x.th")


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        data, = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    return {argument for operation, argument, _ in pickletools.genops(data) if operation.name == "GLOBAL"}


@pytest.mark.parametrize("name,klass", [
    ("hdemucs", "demucs.hdemucs HDemucs"), ("demucs", "demucs.demucs Demucs"), ("htdemucs", "demucs.htdemucs HTDemucs"),
    ("torch_hdemucs", "demucs.hdemucs HDemucs")])
def test_names_in_the_pickle(name, klass, tmp_path):
    model = made(name)
    published.save(model, tmp_path / "x.th", card=card_of(model))
    expected = {klass, "torch._utils _rebuild_tensor_v2", "torch HalfStorage", "collections OrderedDict"}
    assert names_in(tmp_path / "x.th") == expected | ({"fractions Fraction"} if name == "htdemucs" else set())


def test_parts_of_a_package(tmp_path):
    model = made("htdemucs")
    published.save(model, tmp_path / "x.th", card=card_of(model))
    content = pickled.read(tmp_path / "x.th")
    assert set(content) == {"klass", "args", "kwargs", "state", "card"}
    assert content["args"] == () and content["kwargs"] == {**COMMON, **SETTINGS["htdemucs"]}
    assert type(content["kwargs"]["segment"]) is Fraction


def test_metadata_of_safetensors(tmp_path):
    from safetensors import safe_open
    model = made("htdemucs")
    published.save(model, tmp_path / "x.safetensors", kind="safetensors", card=card_of(model))
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["klass"] == "demucs.htdemucs.HTDemucs" and json.loads(metadata["args"]) == []
    kwargs = json.loads(metadata["kwargs"])
    assert kwargs["segment"] == {"_type": "fraction", "numerator": 7, "denominator": 45}
    assert kwargs["t_cape_glob_loc_scale"] == [4000., 1., 1.3] and "structure" not in metadata


@pytest.mark.parametrize("kind", publish.KINDS)
def test_quantised_weights_stay_as_they_are(kind, tmp_path):
    from packages.test_published import FOLDER
    model = package.load(FOLDER / "hdemucs_diffq.th")
    path = tmp_path / f"x{publish.KINDS[kind]}"
    card = published.save(model, path, kind=kind, card=model.card, quantizer_state=model.quantised_state)
    again = package.load(path)
    assert card.precision == again.card.precision == "quantised"
    assert card.model_hash == package.model_hash(again) == package.model_hash(model)
    if kind == "demucs":
        assert "diffq.diffq DiffQuantizer" in names_in(path)


def test_no_form_for_torchaudio_quantised(tmp_path):
    model = made("torch_hdemucs")
    with pytest.raises(PackageError, match="no form for a quantised torch_hdemucs; export it in half precision"):
        published.save(model, tmp_path / "x.th", card=card_of(model), quantizer_state={quantised.MARK: True})


def test_without_safetensors(tmp_path, monkeypatch):
    model = made("demucs")
    path = tmp_path / "x.safetensors"
    published.save(model, path, kind="safetensors", card=card_of(model))
    for module in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PackageError, match="pip install safetensors"):
        published.save(model, tmp_path / "y.safetensors", kind="safetensors", card=card_of(model))
    with pytest.raises(PackageError, match=r"x.safetensors: .*pip install safetensors"):
        published.load(path)


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    model = made("demucs")
    with pytest.raises(PackageError, match="cannot be written"):
        published.save(model, tmp_path / "file" / "x.th", card=card_of(model))


# Published Demucs itself.

@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with a song and exports of every model in full precision: (folder, song)."""
    folder = tmp_path_factory.mktemp("shelf")
    song = 0.2 * np.random.default_rng(0).standard_normal((40_000, 2))
    soundfile.write(folder / "song.wav", song, 44100, subtype="FLOAT")
    for name in SETTINGS:
        model = made(name)
        card = dataclasses.replace(card_of(model), signature=name)
        for kind, suffix in publish.KINDS.items():
            published.save(model, folder / kind / f"{name}{suffix}", kind=kind, half=False, card=card)
    return folder, folder / "song.wav"


def by_published(published_python, folder, *arguments):
    """A process of published Demucs; its folder is none of ours, where it would find our code."""
    return subprocess.Popen([published_python, *arguments], cwd=folder, env=environments.variables("published"),
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("names,options,subtype,tolerance", [
    (list(SETTINGS), ["--float32"], "FLOAT", FULL), (["htdemucs"], [], "PCM_16", 1.01 * STEP)])
def test_its_command_line_gives_the_same_samples(names, options, subtype, tolerance, published_python, shelf):
    folder, song = shelf
    kind = subtype.lower()
    common = ["--repo", str(folder / "demucs"), "--shifts", "0", "-d", "cpu", *options, str(song)]
    processes = {name: by_published(published_python, folder, "-m", "demucs", "-n", name, "-o", f"theirs_{kind}",
                                    *common) for name in names}
    for name, process in processes.items():
        finished(process)
        command.main(["-n", name, "-o", str(folder / f"ours_{kind}"), *common])
        for source in COMMON["sources"]:
            (theirs, rate), (ours, _) = (soundfile.read(folder / f"{side}_{kind}" / name / "song" / f"{source}.wav")
                                         for side in ("theirs", "ours"))
            assert soundfile.info(folder / f"theirs_{kind}" / name / "song" / f"{source}.wav").subtype == subtype
            assert rate == 44100 and theirs.shape == ours.shape == (40_000, 2)
            assert np.abs(theirs).max() > 0.01
            assert np.abs(theirs - ours).max() <= tolerance, (name, source)


READ = """
import sys, numpy, torch
from demucs.hf import load_safetensors_model
from demucs.states import load_model
mix = torch.randn(1, 2, 5000, generator=torch.Generator().manual_seed(1))
for path in sys.argv[1:]:
    model = (load_safetensors_model if path.endswith(".safetensors") else load_model)(path).eval()
    with torch.no_grad():
        numpy.save(path + ".npy", model(mix).numpy())
"""


def test_its_readers_of_other_files(published_python, shelf):
    """safetensors, which its command line reads from a hub only, and quantised weights."""
    from packages.test_published import FOLDER
    folder, _ = shelf
    models = {folder / "safetensors" / f"{name}.safetensors": made(name) for name in SETTINGS}
    for kind, suffix in publish.KINDS.items():
        for name in ("hdemucs_diffq", "hdemucs_qat"):
            path = folder / f"{name}{suffix}"
            models[path] = package.load(FOLDER / f"{name}.th")
            published.save(models[path], path, kind=kind, card=models[path].card,
                           quantizer_state=models[path].quantised_state)
    finished(by_published(published_python, folder, "-c", READ, *map(os.fspath, models)))
    for path, model in models.items():
        theirs = np.load(f"{path}.npy")
        assert np.abs(theirs).max() > 0.01
        assert np.abs(theirs - answer(model).numpy()).max() <= FULL, path.name
