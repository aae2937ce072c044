"""A changed byte anywhere in a package, or in the card beside it, is an error in one line."""

import logging
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from demucs import schema
from demucs.console import one_line
from demucs.errors import PackageError
from demucs.models import zoo
from demucs.packages import checksum, package, publish
from demucs.repositories import repository
from demucs.schema import ReleaseCard

TINY = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 8000, "segment": 2., "channels": 4,
        "depth": 2, "nfft": 256, "time_stride": 2}
KINDS = {"plain": "x.th", "demucs": "x.th", "safetensors": "x.safetensors"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return zoo.build("hdemucs", **TINY).eval()


def written(model, kind, folder):
    path = folder / KINDS[kind]
    card = package.new_card(model, signature="x", epochs_done=3, epochs=5, valid={"nsdr": 1.5}, argv=["epochs=5"])
    if kind == "plain":
        package.save(model, path, card=card)
    else:
        publish.save(model, path, card=card, kind=kind)
    return path


def refusal(path):
    with pytest.raises(PackageError) as caught:
        package.load(path)
    message = one_line(caught.value)
    assert message == str(caught.value) and str(path.with_suffix("")) in message and len(message) < 1000
    return message


def flipped(path, place, bit):
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what,instead", [
    (b"drums", b"drumz"), (b"vocals", b"vokals"), (b"epochs=5", b"epochs=6"), (b"created", b"creatid"),
    (b"checksum", b"checksun"), (b"nsdr", b"msdr"), (b"segment", b"segmint"), (b"epochs_done", b"epochz_done")])
def test_one_character_of_card_or_arguments(model, tmp_path, kind, what, instead):
    path = written(model, kind, tmp_path)
    data = path.read_bytes()
    places = [place for place in range(len(data)) if data.startswith(what, place)]
    if what == b"checksum" and kind == "demucs":
        assert not places, "an archive has its own, and published code knows no such entry"
    elif kind == "safetensors" or what != b"nsdr":
        assert places
    for place in places:
        path.write_bytes(data[:place] + instead + data[place + len(what):])
        refusal(path)


@pytest.mark.parametrize("kind", KINDS)
def test_one_byte_anywhere(model, tmp_path, kind):
    """What is not refused is the same model with the same card: there are bytes that nothing is read from."""
    path = written(model, kind, tmp_path)
    data, before = path.read_bytes(), package.load(path)
    chance, refused = np.random.default_rng(0), 0
    for place in [*chance.integers(len(data), size=40), *range(4), *range(len(data) - 30, len(data), 3)]:
        path.write_bytes(data)
        flipped(path, place, 1 << int(chance.integers(8)))
        try:
            again = package.load(path)
        except PackageError as error:
            assert one_line(error) == str(error)
            refused += 1
        else:
            assert package.model_hash(again) == package.model_hash(before), place
            assert (again.card, again.zoo_kwargs) == (before.card, before.zoo_kwargs), place
    assert refused > 25, "most bytes count"


@pytest.mark.parametrize("kind", ["plain", "safetensors"])
def test_packages_of_older_versions_are_read(model, tmp_path, kind):
    """They have no checksum. Names of sources are compared with the card, and weights with its hash."""
    path = written(model, kind, tmp_path)
    card = package.load(path).card
    schema.write_json(schema.to_plain(card), path.with_suffix(".json"))
    if kind == "plain":
        content = torch.load(path, weights_only=True)
        del content[checksum.KEY]
        torch.save(content, path)
    else:
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
        del metadata[checksum.KEY]
        save_file(tensors, path, metadata)
    assert package.load(path).card == card
    if kind == "safetensors":
        data = path.read_bytes()
        path.write_bytes(data.replace(b"vocals", b"vokals", 1))
        assert "its card says" in refusal(path)


def test_the_card_beside_a_package(model, tmp_path, caplog):
    path = written(model, "plain", tmp_path)
    beside = path.with_suffix(".json")
    text = beside.read_text()
    for what, instead in (("drums", "drumz"), ('"epochs": 5', '"epochs": 6'), ("checksum", "checksun"), ("{", "("),
                          ("version", "vershun"), ('"nsdr": 1.5', '"nsdr": 1.6')):
        assert what in text
        beside.write_text(text.replace(what, instead, 1))
        message = refusal(path)
        assert str(beside) in message and "delete the card" in message
        with pytest.raises(repository.ModelLoadingError):
            repository.get_model("x", tmp_path)
    beside.write_bytes(text.encode()[:100] + b"\xff" + text.encode()[101:])
    assert "cannot be used" in refusal(path)
    beside.unlink()
    card = package.load(path).card
    with caplog.at_level(logging.WARNING):
        other = {**schema.to_plain(card), "epochs_done": 4}      # as an export leaves it that was killed between two files
        schema.write_json(schema.sealed(other), beside)
        assert package.load(path).card == card and "says another epochs_done than the card inside" in caplog.text
        caplog.clear()
        schema.write_json(schema.sealed({**other, "model_hash": "0" * 16}), beside)     # of another kind of file
        assert package.load(path).card == card and not caplog.text


def test_a_sealed_card_is_read_as_a_card(model, tmp_path):
    path = written(model, "plain", tmp_path)
    assert schema.load(ReleaseCard, path.with_suffix(".json")) == package.load(path).card
    assert schema.CHECKSUM in schema.read_json(path.with_suffix(".json"))


def test_an_archive_that_claims_more_than_it_holds(model, tmp_path):
    """A compressed part may grow a thousandfold. torch never writes one."""
    path = written(model, "plain", tmp_path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "claims to hold more" in refusal(path)


def test_deep_nesting_in_a_package(model, tmp_path):
    path = written(model, "plain", tmp_path)
    content = torch.load(path, weights_only=True)
    deep = []
    for _ in range(100):
        deep = [deep]
    torch.save({**content, "extra": deep}, path)
    assert "nested too deep" in refusal(path)
