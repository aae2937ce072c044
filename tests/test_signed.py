"""Which keys of the configuration are part of a signature: a table of all of them, for the rule in docs/training.md."""

import pytest
from compositions import resolved
from dora.xp import XP
from omegaconf import OmegaConf

from demucs.models import zoo
from demucs.train import main

PLAIN = resolved([])
FOREIGN = ("dora", "hydra")
UNSIGNED_SECTIONS = ("misc", "checkpoint", "slurm")     # how a run is carried out: its numbers differ by rounding at most
UNSIGNED = {"flag", "dset.backend",                     # without effect; kept for published argument lists
            "dset.cache_folder", "dset.download"}           # where copies are, and how songs come to their folder
CACHE = "dset.cache"                                    # signed where it loses something
# What changes no number and is signed all the same, since published Demucs signs it: experiments keep their names. No key
# joins this list.
SIGNED_BY_PROMISE = {
    "dummy", "dset.musdb", "dset.wav", "dset.wav2", "dset.metadata", "dset.musdb_samplerate", "test.save", "test.workers",
    "test.every", "save_every", "pretrained_repo", "test.nonhq", "test.shifts", "test.overlap", "test.sdr", "test.best",
}
CHANGES_NUMBERS = {
    "dset": {"kind", "sampling", "use_musdb", "wav2_weight", "wav2_valid", "segment", "shift", "train_valid", "full_cv",
             "samplerate", "channels", "normalize", "sources", "targets", "valid_samples", "missing", "instruments", "split",
             "samples_per_track", "shares", "cache", "train_samples", "valid_draws"},
    "dset.files": {"ext", "input", "output", "target", "interferers"},
    "test": {"split", "metric"},                         # how validation separates, and what it selects by
    "optim": {"lr", "momentum", "beta2", "loss", "optim", "weight_decay", "clip_grad", "precision"},
    "augment": {"shift_same", "flip", "sign", "same"}, "augment.repitch": {"proba", "max_tempo", "max_pitch", "tempo_std"},
    "augment.remix": {"proba", "group_size"}, "augment.scale": {"proba", "min", "max"},
    "ema": {"epoch", "batch"},
    "svd": {"penalty", "min_size", "dim", "niters", "powm", "proba", "conv_only", "convtr", "bs"},
    "quant": {"diffq", "qat", "straight_through", "min_size", "group_size"},
    "schedule": {"kind", "factor", "patience", "cooldown", "warmup", "min_lr", "restarts"},
    "": {"epochs", "batch_size", "max_batches", "seed", "debug", "valid_apply", "weights", "continue_from",
         "continue_pretrained", "continue_best", "continue_opt", "use_train_segment", "model_segment", "model",
         "early_stopping"},
}
MODELS = zoo.NAMES                                       # all their keys change numbers


def leaves(section, prefix=""):
    for key, value in section.items():
        if isinstance(value, dict) and prefix + key != "dset.targets":
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


KEYS = [key for key in leaves(PLAIN) if key.partition(".")[0] not in FOREIGN]


def kind(key):
    section, _, name = key.rpartition(".")
    if key.partition(".")[0] in UNSIGNED_SECTIONS or key in UNSIGNED:
        return "unsigned"
    if key in SIGNED_BY_PROMISE:
        return "by promise"
    if name in CHANGES_NUMBERS.get(section, ()) or section in MODELS:
        return "changes numbers"
    return None


def test_every_key_is_in_the_table():
    assert not [key for key in KEYS if kind(key) is None], "say whether these change a run's numbers"
    listed = {f"{section}.{name}".lstrip(".") for section, names in CHANGES_NUMBERS.items() for name in names}
    assert not listed - set(KEYS) and not SIGNED_BY_PROMISE - set(KEYS) and not UNSIGNED - set(KEYS)
    assert not listed & (SIGNED_BY_PROMISE | UNSIGNED)


@pytest.mark.parametrize("mode,signed", [("none", False), ("flac", False), ("memory", False), ("int16", True)])
def test_a_cache_is_signed_if_it_changes_samples(mode, signed):
    assert (main.get_xp([f"{CACHE}={mode}"]).sig != main.get_xp([]).sig) == signed


def another(key):
    """Override that gives a key another value."""
    value = OmegaConf.select(OmegaConf.create(PLAIN), key)
    if isinstance(value, bool):
        return f"{key}={not value}"
    if isinstance(value, (int, float)):
        return f"{key}={value + 1}"
    return f"{key}=[1]" if isinstance(value, list) else f"{key}={'x' if value != 'x' else 'y'}"


@pytest.fixture(scope="module")
def differences():
    """What Dora finds changed where all keys have another value, by the key: one composition for all of them."""
    base, delta = main._get_base_config([])
    found = dict(main._get_delta(base, main._get_config([another(key) for key in KEYS])))
    assert not delta and set(KEYS) - {CACHE} <= set(found)
    return found


@pytest.mark.parametrize("key", [key for key in KEYS if key != CACHE])
def test_a_key_is_signed_as_the_table_says(key, differences):
    """Its signature alone, as of an experiment whose only override it is."""
    def signature(delta):
        return XP(dora=main.dora, cfg=None, argv=[], delta=delta).sig
    changed = signature([(key, differences[key])]) != signature([])
    assert changed == (kind(key) != "unsigned")


@pytest.mark.parametrize("key", ["optim.lr", "misc.num_workers", "dset.targets", "augment.repitch.proba", "dset.wav"])
def test_that_signature_is_the_one_of_an_argument_list(key, differences):
    assert main.get_xp([another(key)]).sig == XP(dora=main.dora, cfg=None, argv=[], delta=[(key, differences[key])]).sig
