"""Folders of models: what is listed, and what is said about what is not there."""

import pytest
import torch

from demucs import pretrained
from demucs.errors import PackageError, SignatureError
from demucs.inference import package, repository
from demucs.models import zoo

TINY = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 8000, "segment": 2., "channels": 4,
        "depth": 2, "nfft": 64}


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "my models"
    torch.manual_seed(0)
    model = zoo.build("hdemucs", **TINY)
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    for name in ("955717e8", "162f67a7"):
        package.save(model, folder / f"{name}.th", card=card)
    (folder / ".162f67a8.th.part.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("")
    (folder.parent / "outside.th").write_bytes((folder / "955717e8.th").read_bytes())
    return folder


def test_lists_models_only(repo):
    assert list(repository.list_models(repo)) == ["162f67a7", "955717e8"]


def test_gets_a_model(repo):
    assert pretrained.get_model("955717e8", repo).sources == ["drums", "vocals"]
    assert pretrained.get_model("955717e8", str(repo)).sources == ["drums", "vocals"]


def test_default_folder(repo, monkeypatch):
    monkeypatch.chdir(repo.parent)
    with pytest.raises(SignatureError, match="release_models: no such folder"):
        pretrained.get_model("955717e8")
    repo.rename(repo.parent / "release_models")
    assert pretrained.get_model("955717e8").card.signature == "x"


def test_unknown_name_gets_the_nearest(repo):
    with pytest.raises(SignatureError, match=r"no model '955717e9'.*Did you mean '955717e8'.*162f67a7, 955717e8"):
        pretrained.get_model("955717e9", repo)


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "a/b", "/etc/passwd", "..\\outside"])
def test_names_cannot_leave_the_folder(repo, name):
    with pytest.raises(SignatureError, match="is a path|no model"):
        pretrained.get_model(name, repo)


def test_published_names_say_that_they_are_not_here_yet(repo, tmp_path):
    for folder in (repo, tmp_path / "nowhere"):
        with pytest.raises(SignatureError, match="published models cannot be fetched yet.*--repo"):
            pretrained.get_model("htdemucs_ft", folder)


def test_damaged_model(repo):
    (repo / "955717e8.th").write_bytes(b"")
    with pytest.raises(PackageError, match=r"955717e8\.th"):
        pretrained.get_model("955717e8", repo)
