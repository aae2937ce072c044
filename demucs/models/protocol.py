"""What a separation model tells about itself, to whoever separates, trains, configures or stores it.

Every model of the zoo is a `SeparationModel`. Separation also takes modules of other programs (published Demucs lets its
users write their own), so what they may lack is asked through the functions below, which know the defaults.
"""

import inspect
import math
import typing as tp

from torch import nn


class SeparationModel(nn.Module):
    """A separator of waveforms: a mixture [B, A, L] -> estimates [B, S, A, L], for any L >= 1.

    Attributes:
        sources: names of the S sources, in the order of the output.
        audio_channels, samplerate: A and the rate in Hz of the waveforms.
        segment: seconds of audio that separation cuts songs into.
        normalizes_songs: whether a whole song is brought to mean 0 and standard deviation 1 before it is separated, as in the
            training of Demucs.
        draws_in_training: whether the forward pass draws random numbers in training.
    """

    Settings: tp.ClassVar[tp.Optional[type]] = None     # a frozen dataclass of all arguments but the sources
    sources: tp.List[str]
    audio_channels: int
    samplerate: int
    segment: float
    normalizes_songs: bool = True
    draws_in_training: bool = False

    def __init_subclass__(cls, **kwargs: tp.Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.Settings is not None and "__init__" in vars(cls):      # what `inspect.signature` says of `cls(...)`
            fields = inspect.signature(cls.Settings).parameters.values()
            first = inspect.Parameter("sources", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=tp.Sequence[str])
            cls.__signature__ = inspect.Signature([first, *fields])           # type: ignore[attr-defined]

    @classmethod
    def argument_types(cls) -> tp.Dict[str, tp.Any]:
        """The types of the arguments of the class by name."""
        if cls.Settings is None:
            return tp.get_type_hints(cls.__init__)
        return {"sources": tp.Sequence[str], **tp.get_type_hints(cls.Settings)}

    @property
    def longest_segment(self) -> float:
        """Seconds of the longest piece that the model can separate; infinite where the architecture sets no limit."""
        return math.inf

    def input_length(self, length: int, segment: tp.Optional[float] = None) -> int:
        """Samples of context, >= `length`, that the model wants to see to separate `length` samples.

        Args:
            segment: seconds per piece where the caller chose another than the model's own.

        Raises:
            ValueError: where the model cannot separate that many.
        """
        return length

    def after_step(self) -> None:
        """Hook after each optimiser step, for state that must not change inside `forward` (moving averages)."""

    @classmethod
    def published_name(cls, name: str) -> tp.Optional[str]:
        """Name of the parameter `name` in the class that files for published Demucs use; None: it has none there."""
        return name


def longest_segment(model: nn.Module) -> float:
    """Seconds of the longest piece that `model` can separate: infinite for most."""
    return getattr(model, "longest_segment", math.inf)


def normalizes_songs(model: nn.Module) -> bool:
    """Whether a song is normalised as a whole before `model` separates it: all but those that say otherwise."""
    return getattr(model, "normalizes_songs", True)


def input_length(model: nn.Module, length: int, segment: tp.Optional[float] = None) -> int:
    """Samples that `model` wants to see to separate `length` of them; see `SeparationModel.input_length`.

    A module of another program may have `valid_length(samples)` instead, as those of published Demucs.
    """
    if isinstance(model, SeparationModel):
        return model.input_length(length, segment)
    return model.valid_length(length) if hasattr(model, "valid_length") else length
