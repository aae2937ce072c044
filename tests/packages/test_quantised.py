"""Quantised weights: the same values as diffq's, packed and unpacked, and rejection of malformed ones."""

import copy
from pathlib import Path

import pytest
import torch

from demucs.errors import PackageError
from demucs.models import zoo
from demucs.packages import package, pickled, published, quantised

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "published"
TINY = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 44100, "segment": 2, "channels": 4,
        "depth": 2, "nfft": 64}


def stored(name):
    path = FOLDER / f"{name}.th"
    return published._named(pickled.read(path)["state"], path)


def like(name):
    """A model with other weights, for those in the file."""
    return zoo.build("hdemucs", **published.load(FOLDER / f"{name}.th").zoo_kwargs)


def live(kind, **settings):
    diffq = pytest.importorskip("diffq", reason="diffq is not installed (EXTRAS=...,quantize)")
    torch.manual_seed(3)
    model = zoo.build("hdemucs", **TINY)
    quantizer = getattr(diffq, kind)(model, min_size=0.001, **settings)
    for part in getattr(quantizer, "_qparams", []):
        if hasattr(part, "logit"):
            part.logit.data.normal_()
    return model, quantizer


def test_packed_and_unpacked_are_the_same_weights():
    one, other = (published.load(FOLDER / f"hdemucs_diffq{kind}").state_dict() for kind in (".th", "_unpacked.th"))
    full = published.load(FOLDER / "hdemucs.th").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    errors = {name: (one[name] - full[name]).abs().max().item() for name in one}
    assert 0 < max(errors.values()) < 0.5 and min(errors.values()) == 0, "some are rounded, small ones are kept"


@pytest.mark.parametrize("name", ["hdemucs_diffq", "hdemucs_diffq_unpacked", "hdemucs_qat"])
def test_weights_equal_those_of_diffq(name):
    diffq = pytest.importorskip("diffq", reason="diffq is not installed (EXTRAS=...,quantize)")
    state = stored(name)
    expected = like(name)
    kinds = {quantised.DIFFQ: diffq.DiffQuantizer, quantised.UNIFORM: diffq.UniformQuantizer}
    meta = {**state["meta"], "klass": kinds[state["meta"]["klass"]]}
    diffq.restore_quantized_state(expected, {**state, "meta": meta})
    model = like(name)
    quantised.restore(model, state, name)
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("kind,settings", [
    ("DiffQuantizer", {"group_size": 8}), ("DiffQuantizer", {"group_size": 4, "float16": True, "min_bits": 3}),
    ("DiffQuantizer", {"group_size": 2, "exclude": ["*.bias", "encoder.0.*"]}), ("UniformQuantizer", {"bits": 8}),
    ("UniformQuantizer", {"bits": 3, "float16": True}), ("UniformQuantizer", {"bits": 14}),
])
def test_what_a_live_quantiser_gives(kind, settings, tmp_path):
    model, quantizer = live(kind, **settings)
    before = copy.deepcopy(model.state_dict())
    state = quantised.packed(quantizer)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items()), "it changes nothing"
    again = zoo.build("hdemucs", **TINY)
    quantised.restore(again, state, "here")
    with quantizer.enter_quantize():
        for name, value in again.state_dict().items():
            # in float16 where small weights are stored so, else the same
            assert torch.equal(value, model.state_dict()[name]), name
    # A file of ours, and that one stored again.
    card = package.new_card(again, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    written = package.save(model, tmp_path / "x.th", card=card, quantizer_state=state)
    assert written.precision == "quantised"
    loaded = package.load(tmp_path / "x.th")
    assert loaded.card == written and package.model_hash(loaded) == written.model_hash == package.model_hash(again)
    assert written.parameters == sum(p.numel() for p in again.parameters())
    package.save(loaded, tmp_path / "y.th", card=loaded.card, quantizer_state=loaded.quantised_state)
    assert package.model_hash(package.load(tmp_path / "y.th")) == written.model_hash


def test_states_of_old_versions():
    """Before diffq 0.2 the bits were a column."""
    state = stored("hdemucs_diffq_unpacked")
    state["quantized"] = [(levels, extremes, bits[:, None]) for levels, extremes, bits in state["quantized"]]
    model, expected = like("hdemucs_diffq"), published.load(FOLDER / "hdemucs_diffq.th")
    quantised.restore(model, state, "here")
    assert package.model_hash(model) == package.model_hash(expected)


def test_fifteen_bits_become_fourteen():
    """DiffQ's packed form leaves groups of 15 bits out: published Demucs reads memory by chance there."""
    model, quantizer = live("DiffQuantizer", group_size=8)
    for part in quantizer._qparams:
        part.logit.data.fill_(20.)     # all but infinitely many bits
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = quantised.packed(quantizer)
    assert quantizer._get_bits(torch.tensor(20.)) > 14.9, "the quantiser is as it was"
    again = zoo.build("hdemucs", **TINY)
    quantised.restore(again, state, "here")
    for name, value in again.state_dict().items():
        spread = before[name].max() - before[name].min()
        assert (value - before[name]).abs().max() <= 0.51 * spread / (2 ** 14 - 1), name


def test_only_known_quantisers():
    with pytest.raises(PackageError, match="quantised by collections.OrderedDict cannot be stored"):
        from collections import OrderedDict
        quantised.packed(OrderedDict())



def break_state(kind):
    state = copy.deepcopy(stored("hdemucs_diffq"))
    meta, settings, first = state["meta"], state["meta"]["init_kwargs"], list(state["quantized"][0])
    planes = list(first[0])
    filled = next(index for index, plane in enumerate(planes) if plane is not None)
    changes = {
        "no meta": lambda: state.pop("meta"), "no list": lambda: state.pop("others"),
        "other class": lambda: meta.update(klass="os.system"), "torchscript": lambda: meta.update(torch_pack=True),
        "group size": lambda: settings.update(group_size=7), "negative": lambda: settings.update(group_size=-8),
        "no number": lambda: settings.update(group_size="8"), "min size": lambda: settings.update(min_size=1e9),
        "min size text": lambda: settings.update(min_size="a"), "lowest": lambda: settings.update(min_bits=13),
        "lowest below": lambda: settings.update(min_bits=-5), "excluded": lambda: settings.update(exclude=["*"]),
        "settings": lambda: meta.update(init_kwargs=[1]), "one less": lambda: state["quantized"].pop(),
        "one more": lambda: state["others"].append(torch.ones(1)),
        "shape": lambda: state["others"].__setitem__(0, torch.ones(1000, 1000)),
        "no tensor": lambda: state["others"].__setitem__(0, 1.5),
        "infinite": lambda: first.__setitem__(1, (0., float("inf"))), "extremes": lambda: first.__setitem__(1, (0.,)),
        "bits": lambda: first.__setitem__(2, torch.zeros(1, 16, 32, dtype=torch.int64)),
        "bits type": lambda: first.__setitem__(2, first[2].double()),
        "no bits": lambda: first.__setitem__(2, None), "three": lambda: first.append(1),
        "no planes": lambda: first.__setitem__(0, []), "plane missing": lambda: planes.__setitem__(filled, None),
        "plane type": lambda: planes.__setitem__(filled, planes[filled].int()),
        "blocks": lambda: planes.__setitem__(filled, planes[filled].repeat(3, 1, 1)),
        "planes without data": lambda: planes.__setitem__(filled, torch.zeros(10 ** 9, 0, 32, dtype=torch.int64)),
        "planes over one number": lambda: planes.__setitem__(
            filled, torch.zeros(1, dtype=torch.int64).expand(10 ** 6, filled + 1, 32)),
    }
    changes[kind]()
    if kind not in ("no planes",):
        first[0] = planes
    if state["quantized"]:
        state["quantized"][0] = tuple(first)
    return state


@pytest.mark.parametrize("kind", [
    "no meta", "no list", "other class", "torchscript", "group size", "negative", "no number", "min size", "lowest",
    "min size text", "lowest below", "excluded", "settings", "one less", "one more", "shape", "no tensor", "infinite",
    "extremes", "bits", "bits type", "no bits", "three", "no planes", "plane missing", "plane type", "blocks",
    "planes without data", "planes over one number"])
def test_malformed_states(kind):
    model = like("hdemucs_diffq")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PackageError, match="my file: its quantised weights are malformed, or belong to another model"):
        quantised.restore(model, break_state(kind), "my file")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items()), "all or nothing"


@pytest.mark.parametrize("part,value", [
    (0, torch.zeros(3, 8)), (2, torch.zeros(3)), (0, [1]), (2, None), (1, ("a", "b")), (1, (float("nan"), 1.))])
def test_malformed_unpacked_states(part, value):
    state = stored("hdemucs_diffq_unpacked")
    first = list(state["quantized"][0])
    first[part] = value
    state["quantized"][0] = tuple(first)
    with pytest.raises(PackageError, match="malformed"):
        quantised.restore(like("hdemucs_diffq"), state, "my file")


@pytest.mark.parametrize("bits", [0, 16, -1, 1e9, float("nan"), "8", None])
def test_malformed_uniform_states(bits):
    state = copy.deepcopy(stored("hdemucs_qat"))
    state["meta"]["init_kwargs"]["bits"] = bits
    with pytest.raises(PackageError, match="malformed"):
        quantised.restore(like("hdemucs_qat"), state, "my file")


def test_sound_states_pass_these_tests():
    for name in ("hdemucs_diffq", "hdemucs_qat"):
        quantised.restore(like(name), stored(name), "my file")
