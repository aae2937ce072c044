"""Experiments by their overrides, each composed by Hydra once in a process.

A composition takes a sixth of a second, and the tests of signatures, grids and settings need the same few hundred of
them. The files of these tests run in one process (`tiers.group`).
"""

import contextlib
import functools
import typing as tp

import pytest
from omegaconf import DictConfig, OmegaConf

from demucs.train import main

compose = main._get_config


@functools.cache
def _composed(overrides: tp.Tuple[str, ...]) -> DictConfig:
    config = compose(list(overrides))
    OmegaConf.set_readonly(config, True)      # shared by all that have the same overrides
    return config


@contextlib.contextmanager
def kept() -> tp.Iterator[None]:
    """Context in which `main` keeps its compositions, for code under test that asks it for experiments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "_get_config", lambda overrides=(): _composed(tuple(overrides)))
        yield


def xp(overrides: tp.Sequence[str]) -> tp.Any:
    """As `main.get_xp(overrides)`, with a configuration that cannot be changed."""
    with kept():
        return main.get_xp(overrides)


def resolved(overrides: tp.Sequence[str]) -> tp.Dict[str, tp.Any]:
    """Resolved values of the configuration with these overrides, by section and key."""
    return tp.cast(tp.Dict[str, tp.Any], OmegaConf.to_container(xp(overrides).cfg, resolve=True))
