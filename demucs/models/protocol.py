"""Interface of separation models for separation, training, configuration and storage.

Every model of the zoo is a `SeparationModel`. Separation also accepts modules of other programs (published Demucs
allows user-defined models). The functions below return the attributes that such modules may lack, with defaults.
"""

import inspect
import math
import typing as tp

from torch import nn

from ..layers.recomputation import set_recomputation
from ..schema import Combination


class SeparationModel(nn.Module):
    """Base class of separation models, mixture [B, A, L] -> estimates [B, S, A, L] for any L >= 1, unless the model
    limits the length (`longest_segment`).

    Attributes:
        sources: names of the S sources, in the order of the output.
        audio_channels, samplerate: number of channels A and sample rate in Hz of the waveforms.
        segment: length in seconds of the segments into which separation cuts songs.
        normalizes_songs: whether a whole song is normalised to zero mean and unit standard deviation before it is
            separated, as in the training of Demucs.
        default_shifts: rounds of the shift trick in separation, unless the user chooses a number.
        draws_in_training: whether the forward pass draws random numbers in training.
        estimates_magnitudes: whether `model(mixture, magnitudes=True)` returns magnitude spectrograms [B, S, A, F, T]
            of the sources, as `dsp.spectral.magnitudes` computes them with windows of `nfft` samples every `nhop`.
    """

    Settings: tp.ClassVar[tp.Optional[type]] = None     # a frozen dataclass of all arguments except the sources
    sources: tp.List[str]
    audio_channels: int
    samplerate: int
    segment: float
    normalizes_songs: bool = True
    default_shifts: int = 1
    draws_in_training: bool = False
    estimates_magnitudes: bool = False

    def __init_subclass__(cls, **kwargs: tp.Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.Settings is not None and "__init__" in vars(cls):      # signature of `cls(...)` for `inspect.signature`
            fields = inspect.signature(cls.Settings).parameters.values()
            first = inspect.Parameter("sources", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=tp.Sequence[str])
            cls.__signature__ = inspect.Signature([first, *fields])           # type: ignore[attr-defined]

    @classmethod
    def argument_types(cls) -> tp.Dict[str, tp.Any]:
        """Types of the arguments of the constructor by name, `sources` included."""
        if cls.Settings is None:
            return tp.get_type_hints(cls.__init__)
        return {"sources": tp.Sequence[str], **tp.get_type_hints(cls.Settings)}

    @property
    def longest_segment(self) -> float:
        """Longest segment in seconds that the model can separate; infinite if the architecture has no limit."""
        return math.inf

    def input_length(self, length: int, segment: tp.Optional[float] = None) -> int:
        """Number of input samples, >= `length`, that the model needs to separate `length` samples.

        Args:
            length: number of samples to separate.
            segment: length of a segment in seconds, if the caller chose another than that of the model.

        Raises:
            ValueError: if the model cannot separate that many.
        """
        return length

    def recomputable_blocks(self) -> tp.List[nn.Module]:
        """Blocks whose activations need not be stored in training, since they can be computed again in the backward
        pass from the input of the block; see `layers.recomputation`."""
        return []

    def after_step(self) -> None:
        """Update state that must not change inside `forward` (moving averages). Training calls it after each optimiser
        step; by default it does nothing."""

    def combination(self) -> tp.Optional[Combination]:
        """Learnt weights and gates by which the model combines its branches, for the history of its training; None if
        it has none."""
        return None

    @classmethod
    def published_name(cls, name: str) -> tp.Optional[str]:
        """Name that files of published Demucs have for the parameter or buffer `name` of this class; None if they do
        not have it. By default it is the same name."""
        return name


def set_checkpointing(model: nn.Module, on: bool) -> None:
    """Switch activation checkpointing in the training of `model` on or off: less memory for one more forward pass per
    step, with the same gradients."""
    set_recomputation(model.recomputable_blocks(), on)


def longest_segment(model: nn.Module) -> float:
    """Longest segment in seconds that `model` can separate; infinite for a module without the attribute
    `longest_segment`."""
    return getattr(model, "longest_segment", math.inf)


def normalizes_songs(model: nn.Module) -> bool:
    """Whether a song must be normalised as a whole before `model` separates it; True for a module without that
    attribute."""
    return getattr(model, "normalizes_songs", True)


def default_shifts(model: nn.Module) -> int:
    """Number of rounds of the shift trick with which `model` separates songs, unless the user chooses another; 1 for a
    module without that attribute."""
    return getattr(model, "default_shifts", 1)


def estimates_magnitudes(model: nn.Module) -> bool:
    """Whether `model` estimates magnitude spectrograms as well; False for a module without that attribute."""
    return getattr(model, "estimates_magnitudes", False)


def input_length(model: nn.Module, length: int, segment: tp.Optional[float] = None) -> int:
    """Number of input samples that `model` needs to separate `length` samples; see `SeparationModel.input_length`.

    For a module of another program it is `model.valid_length(length)`, as published Demucs has it, or `length` if it
    has no such method; `segment` is then ignored.

    Raises:
        ValueError: if the model cannot separate that many.
    """
    if isinstance(model, SeparationModel):
        return model.input_length(length, segment)
    return model.valid_length(length) if hasattr(model, "valid_length") else length
