"""Models by name: folders, published names from a server on this machine, and errors about missing ones."""

import argparse
import functools
import hashlib
import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from repositories import loopback_hub
from repositories.loopback import FileServer

from demucs import pretrained
from demucs.errors import PackageError, SignatureError
from demucs.models import zoo
from demucs.packages import package, published
from demucs.repositories import catalogue, download, repository
from demucs.repositories.catalogue import ModelLoadingError
from demucs.separation import apply
from demucs.separation.bag import BagOfModels

TINY = {"audio_channels": 2, "samplerate": 8000, "segment": 2., "channels": 4, "depth": 2, "nfft": 64}
SOURCES = ["drums", "bass", "other", "vocals"]
GOLDEN = json.loads((Path(__file__).resolve().parent.parent / "golden" / "remote.json").read_text())


def tiny(path, *, seed=0, sources=("drums", "vocals"), name="hdemucs", **settings):
    """Write a model, as safetensors if the name ends with that."""
    torch.manual_seed(seed)
    model = zoo.build(name, **{**TINY, "sources": list(sources), **settings})
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    if path.suffix == ".safetensors":
        published.save(model, path, card=card, kind="safetensors", half=False)
    else:
        package.save(model, path, card=card)
    return package.model_hash(model)


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "my models"
    for seed, name in enumerate(("955717e8", "162f67a7")):
        tiny(folder / f"{name}.th", seed=seed)
    (folder / ".162f67a8.th.part.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("")
    (folder / "my_bag.yaml").write_text("models: ['955717e8', '162f67a7']\nweights: [[1, 0], [1, 2]]\nsegment: 1.5\n")
    (folder.parent / "outside.th").write_bytes((folder / "955717e8.th").read_bytes())
    return folder


def nowhere():
    """A root URL where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(autouse=True)
def own_caches_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv(catalogue.MIRROR, nowhere())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "fetch", functools.partial(download.fetch, pause=0.001))
    monkeypatch.chdir(tmp_path)
    loopback_hub.use(monkeypatch, nowhere(), tmp_path / "hub")


# Folders

def test_lists(repo):
    assert repository.available(repo) == {
        "single": {name: repo / f"{name}.th" for name in ("162f67a7", "955717e8")},
        "bag": {"my_bag": repo / "my_bag.yaml"}}


def test_lists_what_is_published_and_what_is_in_the_default_folder(repo, monkeypatch):
    monkeypatch.delenv(catalogue.MIRROR)
    assert repository.available() == {"single": GOLDEN["single"],
                                      "bag": {name: pretrained.REMOTE_ROOT / f"{name}.yaml" for name in GOLDEN["bag"]}}
    repo.rename("release_models")
    listed = repository.available()
    assert listed["bag"]["my_bag"] == Path("release_models/my_bag.yaml") and "mdx_extra" in listed["bag"]
    assert listed["single"]["955717e8"] == Path("release_models/955717e8.th")
    assert listed["single"]["04573f0d"] == GOLDEN["single"]["04573f0d"]


def test_gets_a_model(repo):
    for folder in (repo, str(repo)):
        model = pretrained.get_model("955717e8", folder)
        assert model.sources == ["drums", "vocals"] and not model.training


def test_gets_a_bag(repo):
    bag = pretrained.get_model("my_bag", repo)
    assert isinstance(bag, BagOfModels) and bag.sources == ["drums", "vocals"] and not bag.training
    assert bag.weights == [[1., 0.], [1., 2.]] and [model.segment for model in bag.models] == [1.5, 1.5]
    assert bag.audio_channels == 2 and bag.samplerate == 8000
    singles = [pretrained.get_model(name, repo) for name in ("955717e8", "162f67a7")]
    assert list(map(package.model_hash, bag.models)) == list(map(package.model_hash, singles))
    mix = torch.randn(1, 2, 20000)
    first, second = (apply.separate(model, mix, shifts=0, segment=1.5) for model in singles)
    expected = torch.stack([(first[:, 0] + second[:, 0]) / 2, second[:, 1]], dim=1)
    torch.testing.assert_close(apply.separate(bag, mix, shifts=0), expected, atol=1e-6, rtol=0)


def test_a_published_bag_file_can_be_copied_and_edited(repo):
    text = (pretrained.REMOTE_ROOT / "mdx_extra.yaml").read_text()
    for published_name, own in zip(GOLDEN["bag"]["mdx_extra"]["models"], ["955717e8", "162f67a7"] * 2):
        text = text.replace(published_name, own)
    (repo / "mine.yaml").write_text(text)
    bag = pretrained.get_model("mine", repo)
    assert len(bag.models) == 4 and bag.models[0] is bag.models[2], "one of each is enough"
    assert [model.segment for model in bag.models] == [44] * 4


def test_default_folder_comes_first(repo, tmp_path):
    with pytest.raises(ModelLoadingError, match="can be fetched neither"):
        pretrained.get_model("955717e8")
    with pytest.raises(SignatureError, match="my models2: no such folder"):
        pretrained.get_model("955717e8", tmp_path / "my models2")
    (repo / "htdemucs.yaml").write_text("models: ['162f67a7']")
    repo.rename("release_models")
    assert pretrained.get_model("955717e8").card.signature == "x"
    assert len(pretrained.get_model("my_bag").models) == 2
    assert pretrained.get_model("htdemucs").sources == ["drums", "vocals"]
    assert package.model_hash(pretrained.get_model("htdemucs")) != ""


def test_unknown_name_gets_the_nearest(repo):
    with pytest.raises(SignatureError, match=r"no model '955717e9' in .*Did you mean '955717e8'.*162f67a7, 955717e8"):
        pretrained.get_model("955717e9", repo)
    with pytest.raises(ModelLoadingError, match=r"no model 'htdemucs_ff'.*'htdemucs_ft'.*are: none;.*mdx_q.*hf://"):
        pretrained.get_model("htdemucs_ff")


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "a/b", "/etc/passwd", "..\\outside", ".hidden", "a\0"])
def test_names_cannot_leave_the_folder(repo, name):
    for folder in (repo, None):
        with pytest.raises(ModelLoadingError, match="is a path"):
            pretrained.get_model(name, folder)


def test_damaged_model(repo):
    (repo / "955717e8.th").write_bytes(b"")
    with pytest.raises(PackageError, match=r"955717e8\.th") as caught:
        pretrained.get_model("955717e8", repo)
    assert isinstance(caught.value, pretrained.ModelLoadingError)


def test_checksum_in_the_name(repo):
    content = (repo / "955717e8.th").read_bytes()
    good = hashlib.sha256(content).hexdigest()
    (repo / f"cafe0001-{good[:8]}.th").write_bytes(content)
    (repo / f"cafe0002-{good}.th").write_bytes(content)
    (repo / f"cafe0003-{good[:8]}.th").write_bytes(content[:-1] + b"?")
    assert pretrained.get_model("cafe0001", repo).card.signature == "x"
    assert pretrained.get_model("cafe0002", repo).card.signature == "x"
    with pytest.raises(ModelLoadingError, match=rf"cafe0003-{good[:8]}\.th: is damaged, or was changed"):
        pretrained.get_model("cafe0003", repo)


def test_safetensors(repo):
    weights = tiny(repo / "cafe0001.safetensors", seed=7)
    assert package.model_hash(pretrained.get_model("cafe0001", repo)) == weights


def test_duplicates_are_refused(repo):
    content = (repo / "955717e8.th").read_bytes()
    (repo / f"955717e8-{hashlib.sha256(content).hexdigest()[:8]}.th").write_bytes(content)
    for name in ("955717e8", "my_bag"):
        with pytest.raises(ModelLoadingError, match=r"'955717e8' is more than once.*955717e8-.*\.th, 955717e8\.th"):
            pretrained.get_model(name, repo)
    assert pretrained.get_model("162f67a7", repo)


@pytest.mark.parametrize("text,message", [
    ("models: [cafe0001]", r"models has 'cafe0001', which is no model in .* There are: 162f67a7, 955717e8"),
    ("models: [955717e9]", r"Did you mean '955717e8'"),
    ("models: [my_bag]", "models has 'my_bag', which is a bag; a bag holds single models"),
    ("models: [broken]", "models has 'broken', which is a bag"),
    ("models: ['955717e8']\nweights: [[1, 1, 1]]", r"weights\[0\] has 3 numbers for 2 sources \(drums, vocals\)"),
    ("models: ['955717e8', '162f67a7']\nweights: [[1, 0], [1, 0]]", "weights add up to 0.0 for vocals"),
    ("models: ['955717e8', other]", r"model 1 of the bag has sources=\['drums', 'bass'\]"),
    ("models: ['../outside']", "no name of a model"),
    ("segment: 3", "models must be a list"),
])
def test_bags_that_make_no_sense(repo, text, message):
    tiny(repo / "other.th", sources=["drums", "bass"])
    (repo / "broken.yaml").write_text(text)
    with pytest.raises(ModelLoadingError, match=rf"broken\.yaml: .*{message}") as caught:
        pretrained.get_model("broken", repo)
    assert "\n" not in str(caught.value)


# Published names

@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Signature -> (a tiny model as the file that is published under it, the hash of its weights)."""
    folder = tmp_path_factory.mktemp("published")
    made = {}
    for seed, signature in enumerate(GOLDEN["single"]):
        kind = "htdemucs" if signature in ("955717e8", "f7e0c4bc") else "hdemucs"
        path = folder / f"{signature}.th"
        settings = {"t_layers": 1, "t_heads": 2, "dconv_comp": 2, "segment": 1.} if kind == "htdemucs" else {}
        sources = SOURCES + ["guitar", "piano"] if signature == "5c90dfd2" else SOURCES
        made[signature] = (tiny(path, seed=seed, sources=sources, name=kind, **settings), path)
    return {signature: (path.read_bytes(), weights) for signature, (weights, path) in made.items()}


@pytest.fixture
def server(files, monkeypatch):
    """The server of the published files, with tiny models and their checksums."""
    table = {}
    for signature, file in catalogue.published_files().items():
        checksum = hashlib.sha256(files[signature][0]).hexdigest()[:8]
        location = f"{file.location.split('/')[0]}/{signature}-{checksum}.th"
        table[signature] = catalogue.PublishedFile(location, file.model, file.data)
    monkeypatch.setattr(catalogue, "published_files", lambda: table)
    with FileServer({f"/{table[signature].location}": files[signature][0] for signature in table}) as server:
        monkeypatch.setenv(catalogue.MIRROR, server.url)
        server.table = table
        yield server


@pytest.mark.parametrize("name", GOLDEN["bag"])
def test_published_bags(server, files, name, tmp_path):
    golden = GOLDEN["bag"][name]
    bag = pretrained.get_model(name)
    assert isinstance(bag, BagOfModels) and not bag.training
    assert bag.sources == (SOURCES + ["guitar", "piano"] if name == "htdemucs_6s" else SOURCES)
    assert [package.model_hash(model) for model in bag.models] == [files[model][1] for model in golden["models"]]
    assert bag.weights == golden.get("weights", [[1.] * len(bag.sources)] * len(bag.models))
    if "segment" in golden:
        assert {model.segment for model in bag.models} == {golden["segment"]}
    assert bag.max_allowed_segment == (1. if name in ("htdemucs", "htdemucs_ft") else float("inf"))
    fetched = sorted(path.name for path in (tmp_path / "torch" / "hub" / "checkpoints").iterdir())
    assert fetched == sorted(server.table[signature].filename for signature in set(golden["models"]))
    assert len(server.paths) == len(fetched), "each once"


def test_published_single_models(server, files):
    for signature in GOLDEN["single"]:
        model = pretrained.get_model(signature)
        assert package.model_hash(model) == files[signature][1] and not model.training


def test_files_are_kept(server, monkeypatch):
    pretrained.get_model("mdx_extra")
    monkeypatch.setenv(catalogue.MIRROR, nowhere())
    assert len(pretrained.get_model("mdx_extra").models) == 4
    assert pretrained.get_model("e51eebcc").sources == SOURCES


def test_a_network_that_breaks_off(server):
    server.plan = [("truncate", 9000), ("drop", 12000), "corrupt", ("status", 503)]
    assert len(pretrained.get_model("htdemucs").models) == 1


def test_a_server_that_sends_something_else(server, tmp_path):
    server.files = {path: b"<html>please log in</html>" for path in server.files}
    with pytest.raises(ModelLoadingError, match="with the checksum .* instead of .*need a login") as caught:
        pretrained.get_model("htdemucs")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "torch").rglob("*.th*"))


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path):
    pretrained.get_model("htdemucs")
    (path,) = (tmp_path / "torch" / "hub" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert len(pretrained.get_model("htdemucs").models) == 1


def test_without_a_network_one_line_says_what_to_do(tmp_path):
    for name, signature, place in (("htdemucs_ft", "f7e0c4bc", "HTDemucs-ft"), ("92cfc3b6", "92cfc3b6", "HTDemucs-ft"),
                                   ("mdx", "0d19c1c6", "Demucs-mdx")):
        file = catalogue.published_files()[signature]
        with pytest.raises(ModelLoadingError) as caught:
            pretrained.get_model(name)
        message = str(caught.value)
        assert "\n" not in message
        assert f"model {signature} is not in" in message
        assert file.url in message and f"/adefossez/{place} (" in message and message.lower().count("refused") == 2
        assert f"by hand as {tmp_path / 'torch' / 'hub' / 'checkpoints' / file.filename};" in message
        assert catalogue.MIRROR in message


def test_what_was_put_there_by_hand(server, files, tmp_path, monkeypatch):
    monkeypatch.setenv(catalogue.MIRROR, nowhere())
    path = tmp_path / "torch" / "hub" / "checkpoints" / server.table["955717e8"].filename
    path.parent.mkdir(parents=True)
    path.write_bytes(files["955717e8"][0])
    assert package.model_hash(pretrained.get_model("955717e8")) == files["955717e8"][1]


def test_the_hub_stands_in_for_the_server(server, tmp_path, monkeypatch, caplog):
    weights = {}
    repositories = {}
    for seed, name in enumerate(("htdemucs_ft", "mdx_q")):
        kept = repositories.setdefault(f"adefossez/{GOLDEN['hub'][name]}", {})
        for signature in GOLDEN["bag"][name]["models"]:
            path = tmp_path / "made" / f"{signature}.safetensors"
            weights[signature] = tiny(path, seed=100 + seed, sources=SOURCES)
            kept[path.name] = path.read_bytes()
    with loopback_hub.HubServer(repositories) as there:
        loopback_hub.use(monkeypatch, there.url, tmp_path / "hub")
        server.files = {}                          # the server of the table answers, and has nothing
        bag = pretrained.get_model("htdemucs_ft")
        assert [package.model_hash(model) for model in bag.models] == \
            [weights[signature] for signature in GOLDEN["bag"]["htdemucs_ft"]["models"]]
        assert bag.weights == GOLDEN["bag"]["htdemucs_ft"]["weights"], "the definition is our own, not from the hub"
        assert "trying the Hugging Face hub" in caplog.text
        monkeypatch.setenv(catalogue.MIRROR, nowhere())      # nor does it answer
        assert package.model_hash(pretrained.get_model("42e558d4")) == weights["42e558d4"]
        with pytest.raises(ModelLoadingError, match=r"refused.*nor from .*/HTDemucs \(there is no such repository"):
            pretrained.get_model("htdemucs")
    loopback_hub.use(monkeypatch, nowhere(), tmp_path / "hub")
    assert package.model_hash(pretrained.get_model("42e558d4")) == weights["42e558d4"], "from the cache of the hub"


# The names of demucs.pretrained

def test_unittest_model():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for model in (pretrained.demucs_unittest(), pretrained.get_model("demucs_unittest")):
        assert model.sources == SOURCES and model.samplerate == 44100 and model.audio_channels == 2
        assert not model.training and sum(p.numel() for p in model.parameters()) < 2_000_000
    assert torch.equal(torch.get_rng_state(), before)


def parse(*arguments):
    parser = argparse.ArgumentParser()
    pretrained.add_model_flags(parser)
    return parser.parse_args(arguments)


def test_flags(repo):
    assert vars(parse()) == {"sig": None, "name": "htdemucs", "repo": None}
    assert vars(parse("-n", "a", "--repo", "b")) == {"sig": None, "name": "a", "repo": Path("b")}
    assert vars(parse("--sig", "a")) == {"sig": "a", "name": "htdemucs", "repo": None}
    with pytest.raises(SystemExit):
        parse("-n", "a", "-s", "b")
    model = pretrained.get_model_from_args(parse("-n", "162f67a7", "--repo", str(repo)))
    assert package.model_hash(model) == package.model_hash(pretrained.get_model("162f67a7", repo))


def test_experiments_trained_here(repo, tmp_path):
    folder = tmp_path / "outputs" / "xps" / "cafe0001"
    folder.mkdir(parents=True)
    with pytest.raises(SignatureError, match="experiment cafe0001 has no weights yet"):
        pretrained.get_model_from_sig("cafe0001")
    shutil.copy(repo / "162f67a7.th", folder / "best.th")
    for model in (pretrained.get_model_from_sig("cafe0001"), pretrained.get_model_from_args(parse("-s", "cafe0001"))):
        assert package.model_hash(model) == package.model_hash(pretrained.get_model("162f67a7", repo))
    with pytest.raises(SignatureError, match="no experiment 'cafe0002'.*Did you mean 'cafe0001'"):
        pretrained.get_model_from_sig("cafe0002")
