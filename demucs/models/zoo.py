"""The list of models, with all that is known of a model by its name.

Whoever needs to know something about models in general (configuration, training, export, command lines, tests) asks here;
what a model that is built can do is in `protocol`.
"""

import dataclasses
import inspect
import typing as tp

from ..errors import ConfigError, did_you_mean, exhausted_memory
from . import settings as allowed
from .demucs import Demucs
from .hdemucs import HDemucs
from .htdemucs import HTDemucs
from .protocol import SeparationModel
from .torch_hdemucs import TorchHDemucs


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        build: its class.
        description: one line for tables of models.
        published: names of the class in files of published Demucs; the first one is written, all are read.
        written_as: name of the model that computes the same and is written in its place, for a class that Demucs 4.1.0
            cannot load.
    """
    build: tp.Type[SeparationModel]
    description: str
    published: tp.Tuple[str, ...] = ()
    written_as: tp.Optional[str] = None

    @property
    def settings(self) -> tp.Mapping[str, inspect.Parameter]:
        """The arguments of its class by name."""
        return inspect.signature(self.build).parameters

    @property
    def hints(self) -> tp.Dict[str, tp.Any]:
        """The types of the arguments of its class."""
        return self.build.argument_types()

    @property
    def tied_to_training_length(self) -> bool:
        """Whether it has a setting `use_train_segment`: separation in pieces as long as the training examples."""
        return "use_train_segment" in self.settings


MODELS: tp.Dict[str, Entry] = {
    "demucs": Entry(Demucs, "waveforms alone (Défossez et al. 2019; with residual branches as of 2021)",
                    ("demucs.demucs.Demucs",)),
    "hdemucs": Entry(HDemucs, "spectrogram and waveform (Défossez 2021)",
                     ("demucs.hdemucs.HDemucs", "demucs.wdemucs.WDemucs")),
    "htdemucs": Entry(HTDemucs, "the same with a transformer across both (Rouard et al. 2022)",
                      ("demucs.htdemucs.HTDemucs",)),
    "torch_hdemucs": Entry(TorchHDemucs, "HDemucs as torchaudio has it",
                           ("demucs.train.TorchHDemucsWrapper",), written_as="hdemucs"),
}

NAMES = tuple(MODELS)


def build(name: str, *, sources: tp.Sequence[str], audio_channels: int, samplerate: int, segment: float,
          **settings: tp.Any) -> SeparationModel:
    """A model with fresh weights, drawn from torch's global generator.

    The result remembers how to build its like: `zoo.build(model.zoo_name, **model.zoo_kwargs)`, where `zoo_kwargs`
    holds plain values only.

    Raises:
        ConfigError: for an unknown name or setting (the nearest one is named), a number outside its range, or settings
            that do not fit together.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; there are: {', '.join(NAMES)}.{did_you_mean(name, MODELS)}")
    entry = MODELS[name]
    kwargs = {"sources": list(sources), "audio_channels": audio_channels, "samplerate": samplerate,
              "segment": segment, **settings}
    known = entry.settings
    for key in kwargs:
        if key not in known:
            raise ConfigError(f"model {name!r} has no setting {key!r}.{did_you_mean(key, known)}")
    allowed.check(entry.hints, kwargs, f"model {name!r}: ")
    try:
        model = entry.build(**kwargs)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:     # of torch's layers, too
        if exhausted_memory(error):
            raise
        raise ConfigError(f"model {name!r}: {error}") from error
    model.zoo_name = name
    model.zoo_kwargs = kwargs
    return model
