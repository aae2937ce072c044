"""The published names against published Demucs, and bag files of other programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demucs import pretrained
from demucs.errors import PackageError, SignatureError
from demucs.repositories import catalogue, hub
from demucs.repositories.catalogue import ModelLoadingError, read_bag

GOLDEN = json.loads((Path(__file__).resolve().parent.parent / "golden" / "remote.json").read_text())


def test_single_models_as_published(monkeypatch):
    monkeypatch.delenv(catalogue.MIRROR, raising=False)
    assert {signature: file.url for signature, file in catalogue.published_files().items()} == GOLDEN["single"]
    assert pretrained.ROOT_URL == GOLDEN["root"] and pretrained.DEFAULT_MODEL == GOLDEN["default"]


@pytest.mark.parametrize("name", GOLDEN["bag"])
def test_bags_as_published(name):
    bag, golden = read_bag(catalogue.published_bags()[name]), GOLDEN["bag"][name]
    assert set(golden) <= {"models", "weights", "segment"}
    assert list(bag.models) == golden["models"]
    assert bag.weights == golden.get("weights") and bag.segment == golden.get("segment")
    for signature in bag.models:
        file = catalogue.published_files()[signature]
        assert file.signature == signature and len(file.checksum) == 8 and int(file.checksum, 16) >= 0
        assert signature in read_bag(catalogue.published_bags()[catalogue.bag_with(signature)]).models


def test_every_published_name_is_there():
    assert set(catalogue.published_bags()) == set(GOLDEN["bag"]) and len(GOLDEN["bag"]) == 11
    assert len(catalogue.published_files()) == 27
    assert Path(pretrained.REMOTE_ROOT, "htdemucs_ft.yaml").is_file()


def test_classes_and_training_data_agree_with_the_published_experiments(repository):
    arguments = json.loads((repository / "demucs" / "grids" / "published.json").read_text())
    known = 0
    for signature, file in catalogue.published_files().items():
        assert file.model in ("Demucs", "HDemucs", "HTDemucs") and file.data
        given = arguments.get(signature)
        if given is None:
            continue
        known += 1
        last = dict(argument.replace('"', "").split("=", 1) for argument in given)
        assert last.get("model", "demucs") == file.model.lower()
        assert ("quant.diffq" in last) == ("DiffQ" in file.data)
        assert ("800" in file.data) == (last["dset"] == "extra_mmi_goodclean")
        assert ("automix" in file.data) == (last["dset"] == "auto_mus")
        assert ("train and test" in file.data) == (last["dset"] == "aetl")
    assert known >= 20


def test_names_on_the_hub_as_published():
    assert {name: hub.repository_of(name) for name in GOLDEN["hub"]} == {
        name: f"{GOLDEN['namespace']}/{repository}" for name, repository in GOLDEN["hub"].items()}


def test_another_server(monkeypatch):
    for mirror in ("http://mirror.example/demucs", "http://mirror.example/demucs/"):
        monkeypatch.setenv(catalogue.MIRROR, mirror)
        assert catalogue.published_files()["955717e8"].url == \
            "http://mirror.example/demucs/hybrid_transformer/955717e8-8726e21a.th"


@pytest.mark.runs
def test_read_without_torch(repository):
    code = "import sys; from demucs import pretrained; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0


@pytest.mark.parametrize("stem,expected", [
    ("955717e8", ("955717e8", "")), ("955717e8-8726e21a", ("955717e8", "8726e21a")), ("my-model", ("my-model", "")),
    ("my-model-0123456789abcdef", ("my-model", "0123456789abcdef")), ("a-0123", ("a-0123", "")),
    ("-8726e21a", ("-8726e21a", "")), ("a-8726E21A", ("a-8726E21A", ""))])
def test_checksums_in_names(stem, expected):
    assert catalogue.split_checksum(stem) == expected


def test_a_bag_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("models: ['a', 'b-1']\nweights: [[1, 0.5], [0, 2]]\nsegment: 7.8\n")
    bag = read_bag(path)
    assert bag == catalogue.BagDefinition(("a", "b-1"), [[1., 0.5], [0., 2.]], 7.8, str(path))


@pytest.mark.parametrize("text,message", [
    ("", "must say models"), ("- a", "must say models"), ("models", "must say models"), ("{", "is not YAML"),
    ("models: [a", "is not YAML"), ("models: \x00", "is not YAML"), (b"\xff\xfe\x00", "is not YAML"),
    ("models: [2001-99-99]", "is not YAML"), ("[" * 3000, "is not YAML"),
    ("models: !!python/object/apply:os.system ['echo broken']", "is not YAML"),
    ("a: 1", r"unknown key 'a'\."), ("models: [a]\nweight: [[1]]", r"unknown key 'weight'\. Did you mean 'weights'\?"),
    ("models: [a]\n1: 2", "unknown key 1"), ("models: [a]\nnull: 2", "unknown key None"),
    ("segment: 3", "models must be a list.*not None"), ("models: []", "models must be a list"),
    ("models: a", "models must be a list.*not 'a'"), ("models: {a: b}", "models must be a list"),
    ("models: [12345678]", "models has 12345678, which is not text; put the name in quotes"),
    ("models: [01234567]", "models has 342391, which is not text"), ("models: [1e5]", None),
    ("models: [[a]]", "models has .*not text"), ("models: [null]", "models has None"),
    ("models: [true]", "models has True"),
    ("models: ['../x']", "models has '../x', which is no name"), ("models: ['/etc/x']", "no name"),
    ("models: ['..']", "no name"), ("models: ['']", "no name"), (r"models: ['a\b']", "no name"),
    ('models: ["a\\0"]', "no name"),
    ("models: [a]\nsegment: -1", "segment must be seconds above 0, not -1"),
    ("models: [a]\nsegment: 0", "segment must"),
    ("models: [a]\nsegment: ten", "segment must.*'ten'"), ("models: [a]\nsegment: true", "segment must.*True"),
    ("models: [a]\nsegment: .inf", "segment must"), ("models: [a]\nsegment: .nan", "segment must"),
    ("models: [a]\nsegment: [1]", "segment must"), (f"models: [a]\nsegment: {'9' * 400}", "segment must"),
    ("models: [a]\nsegment: 1e300", "segment must"), ("models: [a]\nsegment: 1.0e+300", "segment must"),
    ("models: [a]\nweights: [[1.0e+300]]", r"weights\[0\] must"),
    (f"models: [a]\nweights: [[{'9' * 400}]]", r"weights\[0\]"),
    ("models: [a]\nweights: 1", "weights must be a list with one row for each of the 1 models"),
    ("models: [a]\nweights: []", "weights must be a list"),
    ("models: [a]\nweights: [[1], [1]]", "weights must be a list"),
    ("models: [a]\nweights: {a: [1]}", "weights must be a list"),
    ("models: [a]\nweights: [1]", r"weights\[0\] must be a list of numbers.*not 1"),
    ("models: [a]\nweights: [[]]", r"weights\[0\] must"), ("models: [a]\nweights: [['1']]", r"weights\[0\] must"),
    ("models: [a]\nweights: [[true]]", r"weights\[0\] must"), ("models: [a]\nweights: [[.nan]]", r"weights\[0\] must"),
    ("models: [a]\nweights: [[.inf]]", r"weights\[0\] must"), ("models: [a]\nweights: [[1, -1]]", r"weights\[0\] must"),
    ("models: [a, b]\nweights: [[1, 1], [1, null]]", r"weights\[1\] must"),
    ("models: [a, b]\nweights: [[0, 0], [0, 0]]", "weights are all 0"),
    ("models: &m [*m]", "not text"), ("models: [a]\nweights: &w [*w]", r"weights\[0\] must"),
    (" " * (catalogue.LARGEST_BAG + 1), "is larger"),
])
def test_bag_files_that_make_no_sense(tmp_path, text, message):
    path = tmp_path / "my_bag.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if message is None:
        assert read_bag(path).models == ("1e5",)
        return
    with pytest.raises(ModelLoadingError, match=rf"my_bag\.yaml: .*{message}") as caught:
        read_bag(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert all(isinstance(caught.value, kind) for kind in (SignatureError, PackageError, RuntimeError))


def test_a_bag_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelLoadingError, match="cannot be read"):
        read_bag(tmp_path / "none.yaml")
    with pytest.raises(ModelLoadingError, match="cannot be read"):
        read_bag(tmp_path)
