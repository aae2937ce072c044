"""The one list of models.

An entry says which class builds a model of that name. Everything else that needs to know about models (training, export,
command lines, tests) asks here.
"""

import inspect
import typing as tp

from torch import nn

from ..errors import ConfigError, did_you_mean
from .hdemucs import HDemucs

BUILDERS: tp.Dict[str, tp.Optional[tp.Callable[..., nn.Module]]] = {
    "hdemucs": HDemucs,
    # Known by their published configuration; these are refused until they are built.
    "demucs": None,
    "htdemucs": None,
    "torch_hdemucs": None,
}

NAMES = tuple(name for name, builder in BUILDERS.items() if builder is not None)


def build(name: str, *, sources: tp.Sequence[str], audio_channels: int, samplerate: int, segment: float,
          **settings: tp.Any) -> nn.Module:
    """A model with fresh weights, drawn from torch's global generator.

    The result remembers how to build its like: `zoo.build(model.zoo_name, **model.zoo_kwargs)`, where `zoo_kwargs`
    holds plain values only.

    Raises:
        ConfigError: for an unknown name or setting (the nearest one is named), or settings that do not fit together.
    """
    if name not in BUILDERS:
        raise ConfigError(f"unknown model {name!r}; there are: {', '.join(NAMES)}.{did_you_mean(name, BUILDERS)}")
    builder = BUILDERS[name]
    if builder is None:
        raise ConfigError(f"model {name!r} is not built yet: its configuration is known and its signatures are valid, "
                          f"but there is no code to run it. Models that run: {', '.join(NAMES)}.")
    kwargs = {"sources": list(sources), "audio_channels": audio_channels, "samplerate": samplerate,
              "segment": segment, **settings}
    known = inspect.signature(builder).parameters
    for key in kwargs:
        if key not in known:
            raise ConfigError(f"model {name!r} has no setting {key!r}.{did_you_mean(key, known)}")
    try:
        model = builder(**kwargs)
    except ValueError as error:
        raise ConfigError(f"model {name!r}: {error}") from error
    model.zoo_name = name
    model.zoo_kwargs = kwargs
    return model
