"""Overrides of an evaluation, with the keys of the training configuration: `test.shifts=2`, `dset.musdb=FOLDER`."""

import argparse
import logging
import typing as tp
from pathlib import Path

import yaml

from .config import RANGES, TestConfig, nearest_key
from .errors import ConfigError
from .ranges import check_value
from .separation.outputs import folder_name

KEYS: tp.Dict[str, tp.Any] = {**dict.fromkeys(("dset.musdb", "dset.kind", "dset.missing", "dset.instruments", "dset.split"), str),
                             **{f"test.{name}": hint for name, hint in tp.get_type_hints(TestConfig).items()}}
NO_EFFECT = ("test.best", "test.every", "test.metric")     # settings of tests during training only


def apply_overrides(args: argparse.Namespace, overrides: tp.Iterable[str]) -> None:
    """Set the attributes of `args`, those of the flags of `tools.test_pretrained`, from KEY=VALUE overrides with the
    same meaning. Keys that concern training only give a warning.

    Raises:
        ConfigError: for an unknown key, naming the nearest one, or an invalid value.
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
        elif key == "dset.split":
            args.split_file = value
        else:
            path = isinstance(value, str) and key in ("dset.musdb", "test.nonhq")
            setattr(args, key.partition(".")[2], Path(value) if path else value)


def typed(key: str, text: str) -> tp.Any:
    """Value of the override `key`=`text`: `text` itself where the value may be text and is not empty, otherwise parsed
    as YAML. `key` is one of `KEYS`.

    Raises ConfigError for a value of another type than that of `key`, or a number outside its range.
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
