"""Number formats to separate in.

In "bf16", convolutions and matrix products are computed in bfloat16, which has the range of float32 and 8 bits of its
digits; weights, spectrograms, statistics of the input and the sum of the branches stay float32. Processors with
instructions for it multiply about twice as fast. The error lies some 40 dB below the estimates.
"""

import contextlib
import typing as tp

import torch

from ..errors import ConfigError, did_you_mean

PRECISIONS = ("float32", "bf16")


def check_precision(name: str) -> None:
    """Raises ConfigError where there is no such precision."""
    if name not in PRECISIONS:
        raise ConfigError(f"precision={name!r} is unknown; use one of {', '.join(PRECISIONS)}."
                          f"{did_you_mean(name, PRECISIONS)}")


def computing_in(name: str, device: torch.device) -> tp.ContextManager[tp.Any]:
    """A context in which models on `device` compute in a precision. It holds for the thread that enters it.

    Raises:
        ConfigError: for an unknown precision.
    """
    check_precision(name)
    return torch.autocast(device.type, torch.bfloat16) if name == "bf16" else contextlib.nullcontext()
