"""Models on a Hugging Face hub that runs on this machine."""

import builtins
import os
import socket

import preloaded
import pytest
import torch
from repositories import loopback_hub

from demucs import pretrained
from demucs.models import zoo
from demucs.packages import package, published
from demucs.repositories import hub
from demucs.repositories.catalogue import ModelLoadingError
from demucs.separation.bag import BagOfModels

SETTINGS = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 8000, "segment": 2., "channels": 4,
            "depth": 2, "nfft": 64}


def safetensors(folder, seed):
    torch.manual_seed(seed)
    model = zoo.build("hdemucs", **SETTINGS)
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    published.save(model, folder / "x.safetensors", card=card, kind="safetensors", half=False)
    return (folder / "x.safetensors").read_bytes(), package.model_hash(model)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A hub with three bags; `weights` are those of its models."""
    first, second = (safetensors(tmp_path, seed) for seed in (1, 2))
    files = {"cafe0001.safetensors": first[0], "cafe0002.safetensors": second[0]}
    bag = b"models: [cafe0001, cafe0002, cafe0001]\nweights: [[1, 0], [1, 1], [2, 1]]\nsegment: 1.5\n"
    repositories = {
        "adefossez/HTDemucs": {"htdemucs.yaml": b"models: ['cafe0001']", **files},
        "adefossez/HTDemucs-ft": {"htdemucs_ft.yaml": bag, **files},
        "some.body/Demucs-mine": {"mine.yaml": bag, **files},
    }
    with loopback_hub.HubServer(repositories) as server:
        server.weights = [first[1], second[1]]
        loopback_hub.use(monkeypatch, server.url, tmp_path / "hub")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server


def nowhere():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("name", ["hf://htdemucs_ft", "hf://adefossez/htdemucs_ft", "hf://some.body/mine"])
def test_bags(there, name):
    bag = pretrained.get_model(name)
    assert isinstance(bag, BagOfModels) and not bag.training
    assert [package.model_hash(model) for model in bag.models] == [there.weights[index] for index in (0, 1, 0)]
    assert bag.weights == [[1., 0.], [1., 1.], [2., 1.]] and {model.segment for model in bag.models} == {1.5}


def test_a_bag_of_one(there, tmp_path):
    bag = pretrained.get_model("hf://htdemucs", repo=tmp_path)      # a folder does not matter, as in 4.1.0
    assert len(bag.models) == 1 and bag.weights == [[1., 1.]]


def test_files_are_kept_for_when_there_is_no_network(there, tmp_path, monkeypatch):
    pretrained.get_model("hf://htdemucs_ft")
    loopback_hub.use(monkeypatch, nowhere(), tmp_path / "hub")
    assert len(pretrained.get_model("hf://htdemucs_ft").models) == 3


def test_without_a_network_one_line_and_soon(tmp_path, monkeypatch):
    endpoint = nowhere()
    loopback_hub.use(monkeypatch, endpoint, tmp_path / "hub")
    with pytest.raises(ModelLoadingError) as caught:
        pretrained.get_model("hf://htdemucs_ft")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"hf://htdemucs_ft: htdemucs_ft.yaml cannot be had from {endpoint}/adefossez/HTDemucs-ft")
    assert "refused" in message
    assert f"copy the folder {tmp_path / 'hub' / 'models--adefossez--HTDemucs-ft'} from" in message


def test_what_is_not_on_the_hub(there):
    with pytest.raises(ModelLoadingError, match=r"hf://nobody/x: x\.yaml .*/Demucs-x \(there is no such repository"):
        pretrained.get_model("hf://nobody/x")
    del there.files["/adefossez/HTDemucs-ft/resolve/main/cafe0002.safetensors"]
    with pytest.raises(ModelLoadingError, match=r"hf://htdemucs_ft: cafe0002\.safe.*\(the repository has no cafe0002"):
        pretrained.get_model("hf://htdemucs_ft")
    there.plan = [("status", 403)] * 9
    with pytest.raises(ModelLoadingError, match=r"hf://htdemucs: htdemucs\.yaml .* not to be fetched: .*403"):
        pretrained.get_model("hf://htdemucs")


@pytest.mark.parametrize("name", ["hf://", "hf:///", "hf://a/b/c", "hf://../x", "hf://x/..", "hf://a/b\\c", "hf://a b",
                                  "hf:///etc", "hf://a/", "hf:///a", "hf://.a", "hf://a?b", "hf://a#b", "hf://a\n"])
def test_names_that_are_none(there, name):
    with pytest.raises(ModelLoadingError, match="names no model of the hub; give hf://NAME"):
        pretrained.get_model(name)
    assert there.paths == []


@pytest.mark.parametrize("text,message", [
    (b"models: ['../../../etc/passwd']", "no name of a model"), (b"models: ['a b']", "'a b', which is no signature"),
    (b"models: ['cafe0001?x']", "which is no signature"), (b"models: 3", "models must be a list"),
    (b"models: [cafe0001]\nweights: [[1, 2, 3]]", r"weights\[0\] has 3 numbers for 2 sources"),
    (b"!!python/object:os.system {}", "is not YAML"), (b"\xff", "is not YAML"),
])
def test_bag_files_from_strangers(there, text, message):
    there.files["/adefossez/HTDemucs/resolve/main/htdemucs.yaml"] = text
    with pytest.raises(ModelLoadingError, match=rf"hf://htdemucs: htdemucs\.yaml: .*{message}"):
        pretrained.get_model("hf://htdemucs")


def test_model_files_from_strangers(there):
    there.files["/adefossez/HTDemucs/resolve/main/cafe0001.safetensors"] = b"nothing"
    with pytest.raises(ModelLoadingError, match=r"cafe0001\.safetensors"):
        pretrained.get_model("hf://htdemucs")


def test_without_the_package(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return original(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelLoadingError, match="not installed: pip install huggingface_hub") as caught:
        pretrained.get_model("hf://htdemucs")
    assert "https://huggingface.co/adefossez/HTDemucs" in str(caught.value)


CODE = """
import sys
from demucs import pretrained
assert "huggingface_hub" not in sys.modules
print(len(pretrained.get_model("hf://htdemucs_ft").models))
assert "huggingface_hub" in sys.modules
"""


@pytest.mark.runs
def test_environment_variables_of_the_hub(there, tmp_path, repository):
    def run(**variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return preloaded.run("-c", CODE, cwd=repository,
                             env={**kept, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", **variables})
    done = run(HF_ENDPOINT=there.url)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert (tmp_path / "home" / "hub" / "models--adefossez--HTDemucs-ft").is_dir()
    assert "%" not in done.stderr, "no bars where there is no terminal"
    assert run(HF_ENDPOINT=nowhere(), HF_HUB_OFFLINE="1").stdout == "3\n"


def test_the_probe_takes_any_answer(there):
    assert hub.answer_of(there.url + "/nothing", timeout=5) is None
    assert "refused" in hub.answer_of(nowhere(), timeout=5).lower()
    assert hub.answer_of("http://[", timeout=5)
