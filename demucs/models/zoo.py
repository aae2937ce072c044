"""The one list of models.

An entry says which class builds a model of that name. Everything else that needs to know about models (training, export,
command lines, tests) asks here.
"""

import inspect
import typing as tp

from torch import nn

from ..errors import ConfigError, did_you_mean, exhausted_memory
from . import settings as allowed
from .demucs import Demucs
from .hdemucs import HDemucs
from .htdemucs import HTDemucs
from .torch_hdemucs import TorchHDemucs

BUILDERS: tp.Dict[str, tp.Callable[..., nn.Module]] = {
    "demucs": Demucs,
    "hdemucs": HDemucs,
    "htdemucs": HTDemucs,
    "torch_hdemucs": TorchHDemucs,
}

NAMES = tuple(BUILDERS)


def build(name: str, *, sources: tp.Sequence[str], audio_channels: int, samplerate: int, segment: float,
          **settings: tp.Any) -> nn.Module:
    """A model with fresh weights, drawn from torch's global generator.

    The result remembers how to build its like: `zoo.build(model.zoo_name, **model.zoo_kwargs)`, where `zoo_kwargs`
    holds plain values only.

    Raises:
        ConfigError: for an unknown name or setting (the nearest one is named), a number outside its range, or settings
            that do not fit together.
    """
    if name not in BUILDERS:
        raise ConfigError(f"unknown model {name!r}; there are: {', '.join(NAMES)}.{did_you_mean(name, BUILDERS)}")
    builder = BUILDERS[name]
    kwargs = {"sources": list(sources), "audio_channels": audio_channels, "samplerate": samplerate,
              "segment": segment, **settings}
    known = inspect.signature(builder).parameters
    for key in kwargs:
        if key not in known:
            raise ConfigError(f"model {name!r} has no setting {key!r}.{did_you_mean(key, known)}")
    allowed.check(builder, kwargs, f"model {name!r}: ")
    try:
        model = builder(**kwargs)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:     # of torch's layers, too
        if exhausted_memory(error):
            raise
        raise ConfigError(f"model {name!r}: {error}") from error
    model.zoo_name = name
    model.zoo_kwargs = kwargs
    return model
