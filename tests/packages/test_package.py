"""Packages: exact round trips, and rejection of all other content."""

import dataclasses
import os
import pickle
import subprocess
import sys
import textwrap
from fractions import Fraction

import pytest
import torch

from demucs import schema
from demucs.errors import PackageError
from demucs.models import zoo
from demucs.packages import package, weights
from demucs.schema import ReleaseCard

TINY = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 44100, "segment": 2., "channels": 4,
        "depth": 3, "nfft": 256, "time_stride": 2}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return zoo.build("hdemucs", **TINY).eval()


@pytest.fixture
def card(model):
    return package.new_card(model, signature="0123abcd", epochs_done=3, epochs=5, valid={"nsdr": 1.5, "loss": 0.25},
                            argv=["epochs=5"])


@pytest.fixture
def saved(model, card, tmp_path):
    path = tmp_path / "0123abcd.th"
    package.save(model, path, card=card)
    return path


def test_round_trip(model, card, saved):
    mix = torch.randn(1, 2, 5001)
    before = torch.random.get_rng_state()
    again = package.load(saved)
    assert torch.equal(torch.random.get_rng_state(), before), "loading draws from the caller's generator"
    assert not again.training
    assert torch.equal(again(mix), model(mix))
    assert (again.zoo_name, again.zoo_kwargs) == (model.zoo_name, model.zoo_kwargs)
    assert again.card == dataclasses.replace(
        card, parameters=sum(p.numel() for p in model.parameters()), model_hash=package.model_hash(model))
    assert schema.load(ReleaseCard, saved.with_suffix(".json")) == again.card
    assert sorted(path.name for path in saved.parent.iterdir()) == ["0123abcd.json", "0123abcd.th"]


def test_half_precision(model, card, tmp_path, saved):
    half = tmp_path / "half.th"
    written = package.save(model, half, card=card, half=True)
    assert written.precision == "float16"
    weights = sum(p.numel() for p in model.parameters())
    # two bytes less per weight; the container pads each tensor to 64 bytes
    assert saved.stat().st_size - half.stat().st_size == pytest.approx(2 * weights, rel=0.1)
    again = package.load(half)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert package.model_hash(again) == written.model_hash != package.model_hash(model)
    for (name, rounded), exact in zip(again.named_parameters(), model.parameters()):
        assert torch.equal(rounded, exact.half().float()), name


def test_hash_sees_values_names_and_not_the_device_order(model):
    first = package.model_hash(model)
    assert package.model_hash(zoo.build("hdemucs", **TINY)) != first, "other weights, other hash"
    with torch.no_grad():
        weight = next(model.parameters())
        weight.view(-1)[0] += 1e-6
    assert package.model_hash(model) != first
    state = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    assert weights.state_hash(state) == weights.state_hash(dict(reversed(state.items())))
    assert weights.state_hash(state) != weights.state_hash({"a": torch.zeros(3, 2), "b": torch.ones(2)})
    assert weights.state_hash(state) != weights.state_hash({"c": torch.zeros(2, 3), "b": torch.ones(2)})


def test_missing(tmp_path):
    with pytest.raises(PackageError, match=r"nothere\.th: no such file"):
        package.load(tmp_path / "nothere.th")


@pytest.mark.parametrize("part", [0, 10, 0.5, 0.99])
def test_truncated(saved, part):
    data = saved.read_bytes()
    saved.write_bytes(data[:int(part if part > 1 else part * len(data))])
    with pytest.raises(PackageError, match=r"0123abcd\.th: .*(cut short|damaged)"):
        package.load(saved)


def test_one_flipped_bit_in_the_weights(model, saved):
    data = bytearray(saved.read_bytes())
    place = data.find(next(model.parameters()).detach().numpy().tobytes()[:64])
    assert place > 0
    data[place + 2] ^= 1
    saved.write_bytes(data)
    with pytest.raises(PackageError, match="damaged"):
        package.load(saved)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("write", [
    lambda value, path: torch.save({"format": package.FORMAT, "version": 1, "state": value}, path),
    lambda value, path: torch.save({"klass": Malicious, "state": value}, path, _use_new_zipfile_serialization=False),
    lambda value, path: path.write_bytes(pickle.dumps(value)),
], ids=["zip", "legacy", "bare pickle"])
def test_crafted_pickle_does_not_run(write, tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "evil.th"
    write(Malicious(str(marker)), path)
    with pytest.raises(PackageError, match=r"evil\.th: (refused|not a model file)"):
        package.load(path)
    assert not marker.exists()


def test_class_reference_of_published_packages_is_refused(model, tmp_path):
    path = tmp_path / "published.th"
    torch.save({"klass": type(model), "args": (), "kwargs": TINY, "state": model.state_dict()}, path)
    with pytest.raises(PackageError, match="refused"):
        package.load(path)


@pytest.mark.parametrize("content,message", [
    (b"RIFF....WAVEfmt ", "not a model file|refused"), (b"<html>404</html>", "not a model file|refused"),
])
def test_not_a_model(content, message, tmp_path):
    path = tmp_path / "song.th"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=message):
        package.load(path)


def altered(path, **changes):
    plain = torch.load(path, weights_only=True)
    plain.update(changes)
    torch.save(plain, path)


@pytest.mark.parametrize("changes,message", [
    ({"format": "other"}, "not a release file"), ({"version": 99}, "version 99"), ({"model": None}, "which model"),
    ({"model": "hdemuc"}, "unknown model 'hdemuc'.*'hdemucs'"), ({"model": "demucs"}, "no setting 'nfft'"),
    ({"kwargs": {**TINY, "chanels": 4}}, "no setting 'chanels'.*'channels'"),
    ({"kwargs": {**TINY, "segment": torch.ones(1)}}, "hold a Tensor"), ({"kwargs": {}}, "cannot be built"),
    ({"kwargs": {**TINY, "channels": "many"}}, "cannot be built"),
    ({"state": [1, 2]}, "not a dictionary"), ({"state": {"a": 1}}, "not a dictionary of tensors"),
    ({"card": {}}, "ReleaseCard has version None"),
])
def test_wrong_content(saved, changes, message):
    altered(saved, **changes)
    with pytest.raises(PackageError, match=message) as caught:
        package.load(saved)
    assert str(saved) in str(caught.value)


def test_weights_of_another_model(saved, model, card):
    state = dict(model.state_dict())
    names = list(state)
    del state[names[0]], state[names[1]]
    state["extra.weight"] = torch.zeros(1)
    state[names[5]] = torch.zeros(7, 7)
    plain = schema.to_plain(dataclasses.replace(card, model_hash=weights.state_hash(state)))
    altered(saved, state=state, card=plain)
    with pytest.raises(PackageError) as caught:
        package.load(saved)
    message = str(caught.value)
    assert f"2 missing ({names[0]}, {names[1]})" in message
    assert "1 unknown (extra.weight)" in message
    assert f"1 of another shape ({names[5]} is (7, 7) instead of" in message


def test_arguments_must_be_plain(model, card, tmp_path):
    model.zoo_kwargs = {**model.zoo_kwargs, "segment": torch.ones(1)}
    with pytest.raises(PackageError, match="x.th: its settings hold a Tensor"):
        package.save(model, tmp_path / "x.th", card=card)


def test_fractions_come_back_exactly(card, tmp_path):
    """A segment is a length in samples: 7.8 s and 39/5 s differ where their products with the rate are rounded."""
    model = zoo.build("hdemucs", **{**TINY, "segment": Fraction(39, 5)})
    path = tmp_path / "x.th"
    package.save(model, path, card=card)
    assert torch.load(path, weights_only=True)["kwargs"]["segment"] == {
        "_type": "fraction", "numerator": 39, "denominator": 5}
    again = package.load(path)
    assert type(again.segment) is Fraction and again.zoo_kwargs["segment"] == Fraction(39, 5)
    assert again.card.segment == 2.     # the card is the caller's, who knows


@pytest.mark.parametrize("fraction", [(1, 0), (1.5, 2), ("1", 2), (None, 1)])
def test_what_is_no_fraction(saved, fraction):
    broken = {"_type": "fraction", "numerator": fraction[0], "denominator": fraction[1]}
    altered(saved, kwargs={**TINY, "segment": broken})
    with pytest.raises(PackageError, match="is not a fraction"):
        package.load(saved)


@pytest.mark.runs
def test_full_disk_keeps_the_old_file(saved, repository):
    """The kernel refuses to let the file grow beyond 20 kB, as a full disk would."""
    before = saved.read_bytes()
    code = textwrap.dedent(f"""
        import resource, signal, sys
        from demucs.errors import PackageError
        from demucs.packages import package, weights
        model = package.load({str(saved)!r})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            package.save(model, {str(saved)!r}, card=model.card)
        except PackageError as error:
            print(error)
            sys.exit(7)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository)
    assert done.returncode == 7, done.stderr
    assert "0123abcd.th: cannot be written" in done.stdout and "unharmed" in done.stdout
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["0123abcd.json", "0123abcd.th"]
