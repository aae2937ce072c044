"""The YAML files are the only place with defaults, and the dataclasses read every key of them."""

import copy
from fractions import Fraction

import pytest
import yaml
from omegaconf import OmegaConf

from demucs import config as configuration
from demucs.errors import ConfigError
from demucs.train import main

PLAIN = OmegaConf.to_container(main.get_xp([]).cfg, resolve=True)


def test_every_key_is_read():
    config = configuration.read(PLAIN)
    assert config.epochs == 360 and config.optim.lr == 3e-4 and config.dset.segment == 11
    assert config.model == "demucs" and config.model_settings["channels"] == 64


@pytest.mark.parametrize("group", ["dset=musdb44", "dset=extra44", "dset=extra_test", "dset=extra_mmi_goodclean",
                                   "dset=auto_mus", "dset=auto_extra", "dset=auto_extra_test", "dset=aetl",
                                   "dset=sdx23_bleeding", "dset=sdx23_labelnoise", "svd=base", "svd=base2",
                                   "variant=example", "variant=finetune"])
def test_every_group_is_read(group):
    configuration.read(OmegaConf.to_container(main.get_xp([group]).cfg, resolve=True))


def test_model_files_match_the_list(repository):
    files = {path.stem: path for path in (repository / "conf" / "models").glob("*.yaml")}
    assert set(files) == set(configuration.MODEL_SECTIONS)
    listed = yaml.safe_load((repository / "conf" / "config.yaml").read_text())["defaults"]
    assert {item.split("/")[1] for item in listed if isinstance(item, str) and "/" in item} == set(files)
    for name, path in files.items():
        assert path.read_text().startswith(f"# @package {name}\n")


@pytest.mark.parametrize("argv, seconds, samples", [
    (["dset.segment=10"], 40, 343_980),                                # 39/5 s: experiment 955717e8 and its relatives
    ([], 44, int(0.88 * 11 * 44100) - 44100),
    (["augment.repitch.proba=0"], 44, 10 * 44100),
    (["dset.segment=8", "dset.shift=0", "model_segment=5"], 5, int(0.88 * 8 * 44100)),
])
def test_lengths_follow_from_the_settings(argv, seconds, samples):
    config = configuration.read(OmegaConf.to_container(main.get_xp(argv).cfg, resolve=True))
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
        return configuration.read(OmegaConf.to_container(main.get_xp(["model=htdemucs", *argv]).cfg, resolve=True))
    config = htdemucs("dset.segment=10", "model_segment=44")
    assert config.segment == Fraction(39, 5) and isinstance(config.segment, Fraction)
    assert config.model_settings["use_train_segment"] is True
    assert int(config.segment * config.dset.samplerate) == config.training_length == 343_980
    assert htdemucs("dset.segment=10", "use_train_segment=false").segment == 40
