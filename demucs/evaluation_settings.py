"""Settings of an evaluation by their keys in the configuration of training: `test.shifts=2`, `dset.musdb=FOLDER`."""

import argparse
import logging
import typing as tp
from pathlib import Path

import yaml

from .config import RANGES, TestConfig, nearest_key
from .errors import ConfigError
from .ranges import check_value
from .separation.outputs import folder_name

KEYS: tp.Dict[str, tp.Any] = {"dset.musdb": str,
                             **{f"test.{name}": hint for name, hint in tp.get_type_hints(TestConfig).items()}}
NO_EFFECT = ("test.best", "test.every", "test.metric")     # which weights are tested, and when, in training


def apply_overrides(args: argparse.Namespace, overrides: tp.Iterable[str]) -> None:
    """Put the values of KEY=VALUE into the attributes of the flags of `tools.test_pretrained` that mean the same.

    Raises:
        ConfigError: for an unknown key, naming the nearest one, or a value of another type.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or key not in KEYS:
            raise ConfigError(f"{override!r} is no KEY=VALUE with a key of this evaluation.{nearest_key(key, KEYS)} "
                              f"There are: {', '.join(KEYS)}")
        value = typed(key, text)
        if key in NO_EFFECT:
            logging.warning("%s concerns training only and has no effect here", key)
        elif key == "test.sdr":
            args.no_sdr = not value
        elif key == "test.save":
            args.save = Path("separated") / folder_name(args.sig or args.name) if value else None
        else:
            setattr(args, key.partition(".")[2], Path(value) if isinstance(value, str) else value)


def typed(key: str, text: str) -> tp.Any:
    """The value `text` of an override: of a folder as it is, else as YAML reads it.

    Raises ConfigError where `key` wants another type, or the number is outside its range.
    """
    kinds = tp.get_args(KEYS[key]) or (KEYS[key],)
    if str in kinds and text not in ("", "null"):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}={text}: not a value ({' '.join(str(error).split())})") from error
    if float in kinds and type(value) is int and abs(value) < 2 ** 53:
        value = float(value)
    if type(value) not in kinds:
        raise ConfigError(f"{key}={text}: must be of type {kinds[0].__name__}")
    if key in RANGES and value is not None:
        check_value(key, value, RANGES[key])
    return value
