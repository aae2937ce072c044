"""List of all models and their properties by name.

It is used by configuration, training, export, command lines and tests. The interface of a model instance is in
`protocol`.
"""

import dataclasses
import inspect
import typing as tp

from ..errors import ConfigError, did_you_mean, exhausted_memory
from . import settings as allowed
from .composed import Composed
from .demucs import Demucs
from .hdemucs import HDemucs
from .htdemucs import HTDemucs
from .openunmix import OpenUnmix, OpenUnmixSeparator
from .protocol import SeparationModel
from .torch_hdemucs import TorchHDemucs
from .variants import VARIANTS


@dataclasses.dataclass(frozen=True)
class Entry:
    """Entry of a model in the zoo.

    Attributes:
        build: class of the model.
        description: one line for tables of models.
        published: names of the class in files of published Demucs; the first one is written, all are read.
        written_as: zoo name of an equivalent model whose class is written instead, for a class that Demucs 4.1.0 cannot
            load.
        single: whether the model has exactly one source.
    """
    build: tp.Type[SeparationModel]
    description: str
    published: tp.Tuple[str, ...] = ()
    written_as: tp.Optional[str] = None
    single: bool = False

    @property
    def settings(self) -> tp.Mapping[str, inspect.Parameter]:
        """Parameters of the model's constructor by name, in their order, with their defaults."""
        return inspect.signature(self.build).parameters

    @property
    def hints(self) -> tp.Dict[str, tp.Any]:
        """Types of the parameters of the model's constructor by name."""
        return self.build.argument_types()

    @property
    def tied_to_training_length(self) -> bool:
        """Whether the model has a setting `use_train_segment`, for separation in segments of the training length."""
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
    "openunmix": Entry(OpenUnmix, "one target: a mask for magnitude spectrograms (Stöter et al. 2019)", single=True),
    "openunmix_separator": Entry(OpenUnmixSeparator, "several such networks with a multichannel Wiener filter"),
    "hybrid": Entry(Composed, "branches, mixers and fusion of your choice"),
    **{name: Entry(VARIANTS[name], description) for name, description in {
        "htdemucs_p": "HTDemucs to a single frequency, with attention across and within branches",
        "htdemucs_i": "the same with gates, and with windows of 8192 samples that overlap twice",
        "htdemucs_c": "HDemucs without LSTM and attention, with windows of 8192 samples that overlap 8 times",
        "htdemucs_s": "HTDemucs with three wide levels, and gates around its transformer",
        "htdemucs_d": "HTDemucs with six levels of falling strides, and gates",
        "htdemucs_d2": "the same with growing channels",
        "htdemucs_d3": "five levels of falling strides, without transformer",
        "htdemucs_d4": "HTDemucs with five levels of growing kernels, and gates",
        "htdemucs_n": "HTDemucs with three spectrograms, linear attention, and a convolution as fusion",
        "htdemucs_nn": "the same with weights per source as fusion",
        "htdemucs_nn_conv": "the same with convolutions before, after and instead of the weights",
        "htdemucs_nc": "waveforms alone, in seven levels without rewriting",
        "htdemucs_nf": "five spectrograms, and a convolution as fusion",
        "htdemucs_dnf": "five spectrograms, and a small U-Net as fusion",
        "htdemucs_dn": "HTDemucs_n with a small U-Net as fusion"}.items()},
}

NAMES = tuple(MODELS)


def build(name: str, *, sources: tp.Sequence[str], audio_channels: int, samplerate: int, segment: float,
          **settings: tp.Any) -> SeparationModel:
    """New model of the zoo with random initial weights, drawn from torch's global random generator, on the CPU.

    The model has the attributes `zoo_name` and `zoo_kwargs` (plain values only), from which `zoo.build(model.zoo_name,
    **model.zoo_kwargs)` builds another model of the same architecture.

    Args:
        name: name in `MODELS`.
        sources: names of the sources, in the order of the output.
        audio_channels, samplerate, segment: number of channels, sample rate in Hz, seconds per segment in separation.
        settings: other arguments of the class; default: its own.

    Raises:
        ConfigError: for an unknown name or setting (with the closest known one), a number outside its range, or
            inconsistent settings.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}.{did_you_mean(name, MODELS)} There are: {', '.join(NAMES)}")
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
    except (ValueError, RuntimeError, ZeroDivisionError) as error:     # from the model or from torch's layers
        if exhausted_memory(error):
            raise
        raise ConfigError(f"model {name!r}: {error}") from error
    model.zoo_name = name
    model.zoo_kwargs = kwargs
    return model
