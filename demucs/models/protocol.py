"""Interface of separation models for separation, training, configuration and storage.

Every model of the zoo is a `SeparationModel`. Separation also accepts modules of other programs (published Demucs
allows user-defined models). The functions below return the attributes that such modules may lack, with defaults.
"""

import inspect
import math
import typing as tp

from torch import nn


class SeparationModel(nn.Module):
    """Base class of separation models, mixture [B, A, L] -> estimates [B, S, A, L], for any L >= 1.

    Attributes:
        sources: names of the S sources, in the order of the output.
        audio_channels, samplerate: number of channels A and sample rate in Hz of the waveforms.
        segment: length in seconds of the segments into which separation cuts songs.
        normalizes_songs: whether a whole song is normalised to zero mean and unit standard deviation before it is
            separated, as in the training of Demucs.
        draws_in_training: whether the forward pass draws random numbers in training.
    """

    Settings: tp.ClassVar[tp.Optional[type]] = None     # a frozen dataclass of all arguments except the sources
    sources: tp.List[str]
    audio_channels: int
    samplerate: int
    segment: float
    normalizes_songs: bool = True
    draws_in_training: bool = False

    def __init_subclass__(cls, **kwargs: tp.Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.Settings is not None and "__init__" in vars(cls):      # signature of `cls(...)` for `inspect.signature`
            fields = inspect.signature(cls.Settings).parameters.values()
            first = inspect.Parameter("sources", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=tp.Sequence[str])
            cls.__signature__ = inspect.Signature([first, *fields])           # type: ignore[attr-defined]

    @classmethod
    def argument_types(cls) -> tp.Dict[str, tp.Any]:
        """Types of the arguments of the class by name."""
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
            segment: length of a segment in seconds, if the caller chose another than that of the model.

        Raises:
            ValueError: if the model cannot separate that many.
        """
        return length

    def after_step(self) -> None:
        """Hook after each optimiser step, for state that must not change inside `forward` (moving averages)."""

    @classmethod
    def published_name(cls, name: str) -> tp.Optional[str]:
        """Name of the parameter `name` in the class that files for published Demucs use; None if it has no
        counterpart."""
        return name


def longest_segment(model: nn.Module) -> float:
    """Longest segment in seconds that `model` can separate; infinite for most models."""
    return getattr(model, "longest_segment", math.inf)


def normalizes_songs(model: nn.Module) -> bool:
    """Whether a song is normalised as a whole before `model` separates it; default: True."""
    return getattr(model, "normalizes_songs", True)


def input_length(model: nn.Module, length: int, segment: tp.Optional[float] = None) -> int:
    """Number of input samples that `model` needs to separate `length` samples; see `SeparationModel.input_length`.

    A module of another program may have `valid_length(samples)` instead, like those of published Demucs.
    """
    if isinstance(model, SeparationModel):
        return model.input_length(length, segment)
    return model.valid_length(length) if hasattr(model, "valid_length") else length
