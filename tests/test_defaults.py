"""Defaults are in the YAML files only, and the dataclasses read all of their keys."""

import copy
import dataclasses
import json
import shlex
import typing as tp
from fractions import Fraction

import pytest
import yaml
from compositions import resolved
from omegaconf import OmegaConf

from demucs import config as configuration
from demucs import overrides
from demucs.errors import ConfigError
from demucs.models import settings as models
from demucs.models import zoo
from demucs.train import main

PLAIN = resolved([])


def test_every_key_is_read():
    config = configuration.read(PLAIN)
    assert config.epochs == 360 and config.optim.lr == 3e-4 and config.dset.segment == 11
    assert config.model == "demucs" and config.model_settings["channels"] == 64


@pytest.mark.parametrize("group", ["dset=musdb44", "dset=extra44", "dset=extra_test", "dset=extra_mmi_goodclean",
                                   "dset=auto_mus", "dset=auto_extra", "dset=auto_extra_test", "dset=aetl",
                                   "dset=sdx23_bleeding", "dset=sdx23_labelnoise", "svd=base", "svd=base2",
                                   "variant=example", "variant=finetune"])
def test_every_group_is_read(group):
    configuration.read(resolved([group]))


def test_model_files_match_the_list(repository):
    files = {path.stem: path for path in (repository / "conf" / "models").glob("*.yaml")}
    several = files["htdemucs_variants"]
    rows = yaml.safe_load(several.read_text())
    assert set(files) - {several.stem} == set(zoo.NAMES) - set(rows) and set(rows) < set(zoo.NAMES)
    listed = yaml.safe_load((repository / "conf" / "config.yaml").read_text())["defaults"]
    assert {item.split("/")[1] for item in listed if isinstance(item, str) and "/" in item} == set(files)
    for name, path in files.items():
        assert path.read_text().startswith(f"# @package {'_global_' if path == several else name}\n")


@pytest.mark.parametrize("argv, seconds, samples", [
    (["dset.segment=10"], 40, 343_980),                                # 39/5 s: experiment 955717e8 and its relatives
    ([], 44, int(0.88 * 11 * 44100) - 44100),
    (["augment.repitch.proba=0"], 44, 10 * 44100),
    (["dset.segment=8", "dset.shift=0", "model_segment=5"], 5, int(0.88 * 8 * 44100)),
])
def test_lengths_follow_from_the_settings(argv, seconds, samples):
    config = configuration.read(resolved(argv))
    assert config.segment == seconds
    assert config.training_length == samples


def changed(key, value):
    plain = copy.deepcopy(PLAIN)
    *sections, last = key.split(".")
    target = plain
    for section in sections:
        target = target[section]
    target[last] = value
    return plain


@pytest.mark.parametrize("key, value, words", [
    ("epochs", 0, "epochs=0"), ("epochs", "many", "epochs='many'"), ("batch_size", 1.5, "batch_size=1.5"),
    ("model", "hdemuks", "Did you mean 'hdemucs'"), ("weights", [1., 1.], "weights"), ("weights", [0.] * 4, "positive"),
    ("test.metric", "sdr", "test.metric"), ("dset.segment", 1, "dset.segment"), ("optim.lr", None, "optim.lr"),
    ("test.evry", 3, "Did you mean 'every'"), ("ema.batch", 0.9, "ema.batch"), ("debug", 1, "debug"),
])
def test_impossible_values_are_named(key, value, words):
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        configuration.read(changed(key, value))


def test_missing_keys_are_named():
    plain = copy.deepcopy(PLAIN)
    del plain["optim"]["beta2"]
    with pytest.raises(ConfigError, match=r"optim\.beta2"):
        configuration.read(plain)


def test_a_transformer_knows_its_training_length():
    """39/5 s: experiment 955717e8 and its relatives, whose packages carry this fraction."""
    def htdemucs(*argv):
        return configuration.read(resolved(["model=htdemucs", *argv]))
    config = htdemucs("dset.segment=10", "model_segment=44")
    assert config.segment == Fraction(39, 5) and isinstance(config.segment, Fraction)
    assert config.model_settings["use_train_segment"] is True
    assert int(config.segment * config.dset.samplerate) == config.training_length == 343_980
    assert htdemucs("dset.segment=10", "use_train_segment=false").segment == 40


NUMBERS = (int, float)


def numeric_fields(kind, where=""):
    """Dotted keys of the fields that hold numbers, or lists of numbers."""
    for key, hint in tp.get_type_hints(kind).items():
        kinds = {hint, *tp.get_args(hint)}
        if dataclasses.is_dataclass(hint):
            yield from numeric_fields(hint, f"{where}{key}.")
        elif kinds & set(NUMBERS):
            yield where + key


def numeric_settings(model):
    """Dotted keys of the section of a model that hold numbers, or lists of numbers, or may do so."""
    hints = zoo.MODELS[model].hints
    for key, value in PLAIN[model].items():
        kinds = {hints[key], *(inner for one in tp.get_args(hints[key]) for inner in (one, *tp.get_args(one)))}
        if kinds & set(NUMBERS) or isinstance(value, NUMBERS) and not isinstance(value, bool):
            yield f"{model}.{key}"


FIELDS = list(numeric_fields(configuration.Config))
SLURM = [f"slurm.{key}" for key, value in PLAIN["slurm"].items() if isinstance(value, NUMBERS)]
SETTINGS = [key for model in zoo.NAMES for key in numeric_settings(model)]


def ends(key):
    """The ranges of a key: several where it is a list of so many numbers."""
    section, _, name = key.rpartition(".")
    allowed = models.RANGES[name] if section in zoo.NAMES else configuration.RANGES[key]
    return allowed if isinstance(allowed, tuple) else (allowed,)


def outside(key):
    for place, allowed in enumerate(ends(key)):
        step = 1 if allowed.whole else 1e-3
        below = allowed.least if allowed.open_least else allowed.least - step
        beyond = step if allowed.whole else max(step, 1e-9 * allowed.most)
        above = allowed.most if allowed.open_most else allowed.most + beyond
        for value in (below, above, float("nan"), float("inf"), float("-inf"), 1e300, "many"):
            yield place, value


def in_place(key, place, value):
    """The configuration with that number, in the list that the key has, where it has one."""
    *sections, name = key.split(".")
    before = PLAIN
    for section in (*sections, name):
        before = before[section]
    is_list = isinstance(before, list)
    values = [*before[:place], value, *before[place + 1:]] if is_list else value
    plain = changed(key, values)
    if sections and sections[0] in zoo.NAMES:
        plain["model"] = sections[0]
    return plain


def test_the_walk_finds_the_numbers():
    assert {"optim.lr", "dset.wav2_weight", "ema.epoch", "weights", "svd.penalty", "quant.qat",
            "augment.scale.min"} <= set(FIELDS)
    assert {"htdemucs.t_lr", "htdemucs.channels_time", "hdemucs.multi_freqs", "demucs.growth",
            "htdemucs.t_cape_glob_loc_scale", "torch_hdemucs.nfft"} <= set(SETTINGS)
    assert {"slurm.time", "slurm.cpus_per_gpu"} <= set(SLURM)
    assert set(configuration.RANGES) == {*FIELDS, *SLURM}
    assert {key.partition(".")[2] for key in SETTINGS} | {"audio_channels", "samplerate", "segment"} == set(models.RANGES)


@pytest.mark.parametrize("key", [*FIELDS, *SLURM, *SETTINGS])
def test_every_number_has_a_range(key):
    """Below, above, and what is no number; the message names key and value, in one line."""
    for place, value in outside(key):
        with pytest.raises(ConfigError) as caught:
            configuration.read(in_place(key, place, value))
        assert str(caught.value).startswith(key) and "\n" not in str(caught.value)
        assert str(value) in str(caught.value)


@pytest.mark.parametrize("key", [*FIELDS, *SLURM, *SETTINGS])
def test_the_ends_of_a_range_are_in_it(key):
    for allowed in ends(key):
        assert allowed.least < allowed.most and float("-inf") < allowed.least and allowed.most < float("inf")
        assert (allowed.least in allowed) != allowed.open_least and (allowed.most in allowed) != allowed.open_most


@pytest.mark.parametrize("key, value, words", [
    ("optim.lr", -1, "optim.lr=-1"), ("optim.beta2", 2, "optim.beta2=2.0 must be at least 0 and less than 1"),
    ("optim.clip_grad", -1., "optim.clip_grad"), ("ema.epoch", [2], "ema.epoch"), ("ema.batch", [0.9, -1], "ema.batch"),
    ("augment.repitch.proba", 3, "augment.repitch.proba"), ("svd.penalty", -1, "svd.penalty"),
    ("dset.sources", ["drums", "bass", "drums", "vocals"], "dset.sources.*'drums' 2 times"),
    ("dset.sources", [], "dset.sources"),
    ("dset.sources", ["drums", "a/b", "c", "d"], "a/b"), ("dset.sources", ["drums", "", "c", "d"], "cannot be the name"),
    ("dset.channels", 0, "dset.channels=0"), ("augment.scale.min", 2, "augment.scale.max"),
    ("demucs.rewrite", 3, "demucs.rewrite"), ("demucs.depth", None, "demucs.depth=None"),
    ("demucs.growth", "x", "demucs.growth"),
    ("weights", [1., float("nan"), 1., 1.], "weights"), ("slurm.time", "soon", "slurm.time"),
    ("epochs", 10 ** 400, "epochs"),
    ("optim.lr", 10 ** 400, "optim.lr"), ("weights", [10 ** 400, 1, 1, 1], "weights"),
])
def test_values_of_training_outside_their_ranges(key, value, words):
    with pytest.raises(ConfigError, match=words):
        configuration.read(changed(key, value))


def test_a_run_starts_from_one_other():
    plain = changed("continue_from", "955717e8")
    plain["continue_pretrained"] = "htdemucs"
    with pytest.raises(ConfigError, match="continue_from=955717e8 and continue_pretrained=htdemucs"):
        configuration.read(plain)


NASTY = ["/a b [x]", "/music/a,b", "~/music", "/a(1)", "a=b", "it's", 'say "x"', "{a}", "a;b", "é", "日本", "a#b", "[x",
         "back\\slash;",
         "ends in \\;\\", '\\";', "a & b", "<a>", "/a b~"]


@pytest.mark.parametrize("value", NASTY)
def test_values_that_hydra_cannot_read_are_given_quoted(value):
    """The message has the argument as a shell takes it, and so quoted it says what was meant."""
    with pytest.raises(SystemExit) as caught:
        main.get_xp([f"dset.wav={value}"])
    message = str(caught.value)
    assert message.startswith("error: dset.wav=") and "\n" not in message
    again, = shlex.split(overrides.for_shell("dset.wav", value))
    assert overrides.for_shell("dset.wav", value) in message
    assert main.get_xp([again]).cfg.dset.wav == value


@pytest.mark.parametrize("argument, words", [
    ("ema.epoch=0.9,0.95", "a list is written 'ema.epoch=[0.9,0.95]'"),
    ("weights=[1,1", "a list is written 'weights=[1,1]'"),
    ("hdemucs.multi_freqs=0.1,0.3", "a list is written"), ("optim.lr=1e-3;", "optim.lr=1e-3;: the value must be a number"),
    ("epochs=1,2", "epochs=1,2: the value must be a number"), ("epochs=" + "9" * 5000, "must be a number"),
    ("hdemucs.depth=~", "must be a number"), ("debug=(", "must be true or false"),
    ("dset.wav=a\nb~", "characters that are no text"),
    ("dset.wav=\udcff", "characters that are no text"), ("dset.wav=${x}", "written \\${"), ("dset=[", "dset=[: "),
    ("+dset.wav=[x", "+dset.wav=[x: "), ("dset.wav=~/x", "write the whole path"),
])
def test_other_values_that_hydra_cannot_read(argument, words):
    with pytest.raises(SystemExit) as caught:
        main.get_xp([argument])
    message, = str(caught.value).splitlines()
    assert message.startswith("error: ") and words in message
    message.encode()             # no half of a surrogate, which could not be printed


@pytest.mark.parametrize("key, value", [("dset.wav", ["x"]), ("dset.musdb", {"a": None}), ("optim.loss", ["l1"])])
def test_a_text_that_was_read_as_something_else(key, value):
    with pytest.raises(ConfigError, match=f"{key}=.*was read as a .*'{key}=\"\\[TEXT\\]\"'"):
        configuration.read(changed(key, value))


def test_slurm_settings_of_jobs_that_dora_submits(monkeypatch):
    config = OmegaConf.create({"slurm": {"time": -5}})
    main.get_xp([])     # Dora composes its base once
    monkeypatch.setattr(main, "_base_cfg", config)
    with pytest.raises(SystemExit, match="conf/config.yaml: slurm.time=-5 must be"):
        main.get_slurm_config()


def test_every_published_experiment_is_legal(repository):
    """The settings that grids and tables use, as they are after the overrides of an experiment."""
    argvs = [*json.loads((repository / "demucs" / "grids" / "published.json").read_text()).values()]
    for argv in argvs:
        configuration.read(resolved(argv))


@pytest.mark.parametrize("settings, words", [
    ({"sources": ["a", "a"]}, "'a' 2 times"), ({"sources": []}, "at least one"), ({"channels": 0}, "channels=0"),
    ({"depth": 2.5}, "depth=2.5"), ({"growth": float("nan")}, "growth=nan"), ({"segment": float("inf")}, "segment=inf"),
    ({"audio_channels": 0}, "audio_channels=0"), ({"samplerate": 0}, "samplerate=0"), ({"norm_groups": 7}, "norm_groups"),
    ({"stride": 0}, "stride=0"), ({"kernel_size": -8}, "kernel_size=-8"), ({"multi_freqs": [0.5, 2]}, "multi_freqs"),
])
def test_models_check_their_numbers(settings, words):
    with pytest.raises(ConfigError, match=words):
        zoo.build("hdemucs", **{"sources": ["a", "b"], "audio_channels": 2, "samplerate": 8000, "segment": 2, **settings})
