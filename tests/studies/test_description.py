"""Descriptions of studies: the one that the repository has, and what is wrong with others."""

import copy
from pathlib import Path

import pytest
import yaml

from demucs.errors import ConfigError
from demucs.studies.description import ToolStep, TrainStep, read, with_folder
from demucs.studies.timed import compose

TOOLS = ("make_synthetic", "pseudolabel", "real_song")
GOOD = {"name": "x", "question": "Is it?", "seconds": 5, "seeds": [1, 2], "common": ["model=hdemucs"],
        "arms": {"a": [], "b": ["optim.lr=0.1"]}, "comparisons": [["b", "a"]],
        "steps": [{"tool": "make_synthetic", "arguments": ["{out}/songs", "--train", 3, "--seconds", 1.5]},
                  {"train": "teacher", "overrides": [], "seconds": 1, "seed": 0}]}


def described(tmp_path, plain):
    path = tmp_path / "study.yaml"
    path.write_text(plain if isinstance(plain, str) else yaml.safe_dump(plain))
    return read(path, TOOLS)


def test_what_is_read(tmp_path):
    found = described(tmp_path, GOOD)
    assert found.steps == [ToolStep("make_synthetic", ("{out}/songs", "--train", "3", "--seconds", "1.5")),
                           TrainStep("teacher", (), 1., 0)]
    assert found.overrides(found.arms["b"], Path("/o")) == ["model=hdemucs", "optim.lr=0.1"]
    assert found.training_seconds == 2 * 2 * 5 + 1
    less = found.scaled(0.5, 1)
    assert (less.seconds, less.seeds, less.training_seconds) == (2.5, [1], 5.5)


def changed(**keys):
    made = copy.deepcopy(GOOD)
    made.update(keys)
    return {key: value for key, value in made.items() if value is not None}


@pytest.mark.parametrize("plain, words", [
    ("- a list", "is a mapping with the keys"), ("a: [", "cannot be read as YAML"),
    ("!!python/object:os.system {}", "YAML"), (changed(sedes=[1]), "Did you mean 'seeds'"),
    (changed(seeds=None), "lacks seeds"), (changed(seeds=[1, 1]), "each once"), (changed(seeds=[-1]), "seeds=-1"),
    (changed(seconds="5"), "must be a number"), (changed(seconds=0), "seconds=0"),
    (changed(seconds=float("nan")), "seconds=nan"), (changed(name="../x"), "must be a name"),
    (changed(arms={"a": []}), "at least two"), (changed(arms={"a/b": [], "b": []}), "must be a name"),
    (changed(arms={"a": "x", "b": []}), "must be a list of texts"),
    (changed(arms={"a": [{"b": 1}], "b": []}), "in quotes"),
    (changed(comparisons=[["a", "c"]]), "pair of different arms"),
    (changed(comparisons=[["a", "a"]]), "pair of different arms"), (changed(comparisons=[]), "at least one pair"),
    (changed(comparisons=[["a"]]), "pair of different arms"),
    (changed(also_scored=["x"]), "a mapping of names to folders"), (changed(also_scored={"a/b": "x"}), "must be a name"),
    (changed(also_scored={"a": ""}), "must be a folder"), (changed(also_scored={"a": 1}), "must be a folder"),
    (changed(steps=[{"tool": "rm", "arguments": []}]), "must be one of"),
    (changed(steps=[{"shell": "x"}]), "key tool or train"), (changed(steps=["x"]), "key tool or train"),
    (changed(steps=[{"tool": "pseudolabel"}]), "lacks arguments"),
    (changed(steps=[{"train": "a", "overrides": [], "seconds": 1, "seed": 0}]), "name of an arm")])
def test_what_cannot_be_read(tmp_path, plain, words):
    with pytest.raises(ConfigError) as error:
        described(tmp_path, plain)
    assert words in str(error.value) and "study.yaml: " in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="nowhere: no such file"):
        read(tmp_path / "nowhere", TOOLS)


@pytest.mark.parametrize("folder", ["/plain", "/with space", "/a=b,c", "/[x]{y}", "/it's \"quoted\"", "/ünï"])
def test_folders_in_overrides_are_quoted(folder):
    override = with_folder("dset.musdb={out}/songs", Path(folder))
    assert compose(["model=hdemucs", override], 3).dset.musdb == f"{folder}/songs"


def test_studies_of_the_repository(repository):
    paths = sorted((repository / "demucs" / "studies").glob("*.yaml"))
    assert paths
    for path in paths:
        found = read(path, TOOLS)
        assert found.name == path.stem and found.training_seconds < 105 * 60
        for own in found.arms.values():
            assert compose(found.overrides(own, Path("/out")), 1).seed == 1


@pytest.mark.parametrize("override, words", [
    ("schedule.kind=cosine", "ends with the number of epochs"), ("epochs=3", "leave out epochs"),
    ("early_stopping=3", "leave out epochs"), ("quant.qat=6", "not quantised")])
def test_settings_that_do_not_fit_a_time_limit(override, words):
    with pytest.raises(ConfigError, match=words):
        compose(["model=hdemucs", override], 1)
