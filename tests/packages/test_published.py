"""Files of published Demucs give the same output, and malicious files in their format cannot run code."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from demucs.errors import DemucsError, PackageError
from demucs.models import zoo
from demucs.packages import package, pickled, publish, published
from demucs.separation.apply import separate

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "published"
ANSWERS = np.load(FOLDER / "answers.npz")
STRIDE = 13            # of the stored samples
TOLERANCE = 1e-5       # max abs, against outputs of some 0.1
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*")
               if path.suffix in (".th", ".safetensors"))


def answer(model):
    mix = torch.randn(1, 2, 5000, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model(mix)[..., ::STRIDE].numpy()


def test_all_kinds_are_there():
    assert len(FILES) == 14 and {"run/checkpoint.th", "run/best.th", "hdemucs_half.safetensors"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_same_output_as_published(file):
    before = torch.random.get_rng_state()
    model = package.load(FOLDER / file)
    assert torch.equal(torch.random.get_rng_state(), before), "loading draws from the caller's generator"
    expected = ANSWERS["run" if "/" in file else Path(file).stem]
    assert np.abs(answer(model) - expected).max() <= TOLERANCE < np.abs(expected).max() / 1000
    assert not model.training and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
    assert separate(model, torch.randn(1, 2, 3000), shifts=0).shape == (1, 2, 2, 3000)


def test_the_stored_forms_differ():
    """Or the comparison above would not tell them apart."""
    for other in ("hdemucs_half", "hdemucs_diffq"):
        assert np.abs(ANSWERS[other] - ANSWERS["hdemucs"]).max() > TOLERANCE


def test_half_precision_weights_are_exact():
    full = published.load(FOLDER / "hdemucs.th").state_dict()
    for file in ("hdemucs_half.th", "hdemucs_half.safetensors"):
        half = published.load(FOLDER / file).state_dict()
        assert all(torch.equal(half[name], full[name].half().float()) for name in full)


def test_what_the_card_knows(tmp_path):
    card = published.load(FOLDER / "hdemucs_half.th").card
    assert (card.model, card.precision, card.epochs, card.valid) == ("hdemucs", "float16", 360, {"loss": 0.25})
    assert (card.sources, card.segment, card.samplerate) == (["drums", "vocals"], 2., 44100)
    assert published.load(FOLDER / "run" / "checkpoint.th").card.epochs_done == 2
    assert published.load(FOLDER / "hdemucs_diffq.th").card.precision == "quantised"
    shutil.copy(FOLDER / "demucs.th", tmp_path / "955717e8-8726e21a.th")
    model = published.load(tmp_path / "955717e8-8726e21a.th")
    assert model.card.signature == "955717e8" and model.card.model_hash == package.model_hash(model)


def test_fractions_stay_exact():
    for file in ("htdemucs.th", "htdemucs_half.safetensors"):
        model = published.load(FOLDER / file)
        assert type(model.segment) is Fraction and model.segment == Fraction(7, 45)
        assert model.card.segment == 7 / 45


def test_foreign_models_are_exported_in_our_format(tmp_path):
    model = package.load(FOLDER / "htdemucs.th")
    package.save(model, tmp_path / "x.th", card=model.card)
    again = package.load(tmp_path / "x.th")
    assert np.array_equal(answer(again), answer(model)) and again.zoo_kwargs == model.zoo_kwargs


def test_unknown_arguments_are_dropped_with_a_warning(caplog):
    published.load(FOLDER / "hdemucs_half.th")
    assert "demucs.hdemucs.HDemucs has no parameter 'norm_fantasy'" in caplog.text


def test_arguments_in_order():
    """demucs.th was built with sources, audio_channels and channels by position."""
    content = pickled.read(FOLDER / "demucs.th")
    assert content["args"] == (["drums", "vocals"], 2, 8)
    kwargs = published.load(FOLDER / "demucs.th").zoo_kwargs
    assert (kwargs["sources"], kwargs["audio_channels"], kwargs["channels"]) == (["drums", "vocals"], 2, 8)


def rewritten(path, name="hdemucs.th", **changes):
    """A package with changes, which may be functions of the original part."""
    content = pickled.read(FOLDER / name)
    for key, change in changes.items():
        content[key] = change(content[key]) if callable(change) else change
    torch.save(content, path, pickle_module=publish._REFERENCES)
    return path


def test_defaults_of_the_published_class(tmp_path):
    kwargs = {"sources": ["a", "b"], "channels": 4, "depth": 2, "nfft": 64, "dconv_lstm": 1, "dconv_attn": 1,
              "dconv_comp": 2}
    model = published.load(rewritten(tmp_path / "x.th", args=(), kwargs=kwargs))
    assert (model.segment, model.samplerate, model.audio_channels) == (40, 44100, 2)


def test_torchaudio_wrapper(tmp_path):
    settings = dict(sources=["a", "b"], audio_channels=2, samplerate=44100, segment=2, channels=4, depth=4, nfft=1024)
    model = zoo.build("torch_hdemucs", **settings).eval()
    path = rewritten(tmp_path / "x.th", klass=pickled.Reference("demucs.train.TorchHDemucsWrapper"), args=(),
                     kwargs=settings, state=dict(model.state_dict()))
    again = published.load(path)
    assert again.zoo_name == "torch_hdemucs" and np.array_equal(answer(again), answer(model))


def test_diffq_run_without_the_bits(tmp_path, caplog):
    """best.th of a run with DiffQ has its weights before rounding, and the number of bits of each group."""
    bits = {"encoder.0.conv.weight_diffq": torch.zeros(8)}
    model = published.load(rewritten(tmp_path / "x.th", state=lambda state: {**state, **bits}))
    assert np.array_equal(answer(model), answer(published.load(FOLDER / "hdemucs.th")))
    assert "trained with DiffQ" in caplog.text


# What is wrong with a file is said, with its name.

@pytest.mark.parametrize("changes,message", [
    (dict(args=(), kwargs={}), "needs 'sources'"),
    (dict(args=(["a"],), kwargs={"sources": ["a"]}), "does not take 1 arguments in order and sources by name"),
    (dict(kwargs="many"), "no list and dictionary"),
    (dict(args=(), kwargs={"sources": ["a"], "channels": torch.ones(1)}), "hold a Tensor"),
    (dict(klass="demucs.hdemucs.HDemucs"), "its model is <class 'str'>"),
    (dict(state=[1]), "not a dictionary of tensors"),
    (dict(state=lambda state: {**state, "more": torch.ones(1)}), r"1 unknown \(more\)"),
    (dict(training_args={"a": {"b": pickled.Reference("diffq.diffq.DiffQuantizer")}}), "hold diffq.diffq.DiffQ"),
])
def test_malformed_packages(changes, message, tmp_path):
    path = rewritten(tmp_path / "x.th", **changes)
    with pytest.raises(PackageError, match=message) as caught:
        package.load(path)
    assert str(path) in str(caught.value)


def test_other_contents(tmp_path):
    torch.save({"state": {}}, tmp_path / "x.th")
    with pytest.raises(PackageError, match="not a file of published Demucs: it lacks args, klass, kwargs, state"):
        published.load(tmp_path / "x.th")
    with pytest.raises(PackageError, match="no such file"):
        published.load(tmp_path / "nothere.th")
    with pytest.raises(PackageError, match="no such file"):
        published.load(tmp_path / "nothere.safetensors")


def metadata_of(path):
    with open(path, "rb") as file:
        return json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))


def tampered(path, source, **changes):
    """A safetensors file with other metadata."""
    data = (FOLDER / source).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header["__metadata__"].update(changes)
    header["__metadata__"] = {key: value for key, value in header["__metadata__"].items() if value is not None}
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + data[8 + size:])
    return path


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("changes,message", [
    (dict(klass="os.system"), "refused: its model is os.system"), (dict(klass=None), "does not describe a model"),
    (dict(kwargs="{"), "does not describe a model"), (dict(kwargs="[]"), "no list and dictionary"),
    (dict(kwargs='{"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}}'), "not a fraction"),
    (dict(args=DEEP), "does not describe a model"), (dict(kwargs=None), "does not describe a model"),
    (dict(args="[]", kwargs='{"sources": ["a", "b"], "channels": 1e9}'), "cannot be built"),
])
def test_malformed_safetensors(changes, message, tmp_path):
    path = tampered(tmp_path / "x.safetensors", "hdemucs_half.safetensors", **changes)
    with pytest.raises(PackageError, match=message) as caught:
        package.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [0, 5, 100, 20000])
def test_truncated_safetensors(size, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes((FOLDER / "hdemucs_half.safetensors").read_bytes()[:size])
    with pytest.raises(PackageError, match=r"x\.safetensors: not a safetensors file, or cut short"):
        package.load(path)


def test_a_class_in_a_safetensors_structure_is_not_looked_up(tmp_path):
    structure = metadata_of(FOLDER / "hdemucs_diffq.safetensors")["__metadata__"]["structure"]
    assert "diffq.diffq.DiffQuantizer" in structure
    path = tampered(tmp_path / "x.safetensors", "hdemucs_diffq.safetensors",
                    structure=structure.replace("diffq.diffq.DiffQuantizer", "os.system"))
    with pytest.raises(PackageError, match="refused: its weights are quantised by 'os.system'"):
        package.load(path)
    path = tampered(tmp_path / "x.safetensors", "hdemucs_diffq.safetensors",
                    structure=structure.replace('"_class"', '"_call"'))
    with pytest.raises(PackageError, match="unknown part of a structure"):
        package.load(path)


# Crafted pickles. `marker` is a folder that exists once one of them has run.

class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickled_at(path, operations):
    """A model file with a pickle of raw operations."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + operations + b".")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def test_the_craft_is_real(tmp_path):
    """The usual reader of pickles runs it."""
    assert pickle.loads(b"\x80\x02cposix\nmkdir\n" + text(str(tmp_path / "x")) + b"\x85R.") is None
    assert (tmp_path / "x").is_dir()


@pytest.mark.parametrize("part", ["klass", "args", "kwargs", "state", "training_args"])
def test_calls_inside_a_package(part, marker, tmp_path):
    nested = {"klass": lambda call: call, "args": lambda call: ([call],), "kwargs": lambda call: {"sources": [[call]]},
              "state": lambda call: {"weight": call}, "training_args": lambda call: {"optim": {"lr": call}}}[part]
    path = rewritten(tmp_path / "x.th")
    content = pickled.read(path)
    content[part] = nested(Calls(os.mkdir, str(marker)))
    torch.save(content, path, pickle_module=publish._REFERENCES)
    for load in (package.load, published.load):
        with pytest.raises(PackageError, match=r"x\.th: refused: it names posix\.mkdir"):
            load(path)


@pytest.mark.parametrize("name", [
    "posix\nsystem", "os\nsystem", "builtins\neval", "__builtin__\ngetattr", "subprocess\nPopen", "functools\npartial",
    "demucs.hdemucs\nos.system", "omegaconf.dictconfig\nos.system", "omegaconf.omegaconf\nOmegaConf",
    "torch.hub\nload", "demucs.models.zoo\nbuild", "demucs.hdemucs\nHDemucs.__init__", "fractions\nos.system"])
def test_other_names_are_refused(name, marker, tmp_path):
    path = pickled_at(tmp_path / "x.th", b"c" + name.encode() + b"\n" + text(f"mkdir {marker}") + b"\x85R")
    with pytest.raises(PackageError, match=r"x\.th: refused: it names [\w.]+, which no file of Demucs"):
        package.load(path)


@pytest.mark.parametrize("operations", [
    b"cdemucs.hdemucs\nHDemucs\n]\x85R",                                # calls the model class
    b"cdemucs.hdemucs\nHDemucs\n)\x81",                                 # makes one without its constructor
    b"cdemucs.hdemucs\nHDemucs\n}b",                                    # sets its state
    b"cdiffq.diffq\nDiffQuantizer\n}\x85R",                             # calls the quantiser
    b"ctyping\nAny\n)R", b"c__builtin__\nlist\n)R",                     # calls what stands beside configurations
    b"comegaconf.dictconfig\nDictConfig\n)\x81Nb",                      # a configuration without attributes
    b"comegaconf.dictconfig\nDictConfig\n)\x81(X\x01\x00\x00\x00atb",   # one whose state is a tuple
    b"cfractions\nFraction\n" + text("1e999999999") + b"\x85R",          # a number of a billion digits
    b"cfractions\nFraction\n" + text("9" * 1000) + b"\x85R", b"cfractions\nFraction\nK\x01K\x00\x86R",
    b"cnumpy\ndtype\n" + text("O8") + b"\x85R" + b"cnumpy.core.multiarray\nscalar\nq\x00h\x00\x85R",
    b"(iposix\nmkdir\n", b"(cposix\nmkdir\no", b"\x8c\x05posix\x8c\x05mkdir\x93",   # operations beyond the subset
    b"h\x07", b"", b"}" * 3,
])
def test_what_is_done_with_names(operations, marker, tmp_path):
    path = pickled_at(tmp_path / "x.th", operations)
    with pytest.raises(PackageError, match=r"x\.th: (refused|not a model file|not a release file)"):
        package.load(path)


NODE = b"comegaconf.dictconfig\nDictConfig\n)\x81q\x01}" + text("_content")


@pytest.mark.parametrize("content", [
    NODE + b"h\x01sb",                                                  # a configuration inside of itself
    NODE + b"}" + text("a") + b"h\x01ssb",
    b"(]q\x00" + b"".join(b"]q" + bytes([n]) + b"(" + 9 * (b"h" + bytes([n - 1])) + b"e" for n in range(1, 30)) + b"t",
], ids=["itself", "in itself", "nine to the thirtieth"])
def test_configurations_without_end(content, tmp_path):
    """As the configuration of a run's checkpoint."""
    parts = b"".join(text(key) + b"}s" for key in ("state", "optimizer", "history", "best_state"))
    path = pickled_at(tmp_path / "x.th", b"}" + parts + text("args") + content + b"s")
    with pytest.raises(PackageError, match="nested too deep or too many"):
        package.load(path)


@pytest.mark.parametrize("kwargs", [
    {"channels": 10 ** 6}, {"nfft": 2 ** 40}, {"depth": 10 ** 9}, {"growth": 1e9}, {"channels_time": 10 ** 7},
    {"kernel_size": 10 ** 10}, {"context": 10 ** 5}, {"dconv_depth": 10 ** 9}, {"audio_channels": 10 ** 9},
    {"multi_freqs": [0.5] * 9000}, {"sources": ["x"] * 9000}, {"channels": -5}, {"channels": "a"}, {"nfft": 1e300},
])
@pytest.mark.parametrize("quantised", [False, True])
def test_absurd_arguments(kwargs, quantised, tmp_path):
    """They are refused before the memory is taken: this must neither last nor grow."""
    source = "hdemucs_diffq.th" if quantised else "hdemucs.th"
    path = rewritten(tmp_path / "x.th", source, args=(), kwargs={"sources": ["a", "b"], **kwargs})
    with pytest.raises(PackageError, match=r"x\.th: its (model cannot be built|weights do not fit)"):
        package.load(path)


def test_tensors_larger_than_the_file(tmp_path):
    """A tensor of a terabyte over one stored number."""
    huge = torch.zeros(1).expand(500_000, 500_000)
    path = rewritten(tmp_path / "x.th", state=lambda state: {**state, "encoder.0.conv.weight": huge})
    with pytest.raises(PackageError, match="claim more values than the file holds"):
        package.load(path)


def test_threads_do_not_disturb_each_other():
    """torch keeps one table of names per process, which is set and reset around each reading."""
    before = set(torch.serialization.get_safe_globals())
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(published.load, [FOLDER / "htdemucs.th", FOLDER / "run" / "best.th"] * 4))
    assert len(models) == 8
    assert set(torch.serialization.get_safe_globals()) == before, "the names are left behind"


def test_errors_are_of_one_kind():
    assert issubclass(PackageError, DemucsError)
