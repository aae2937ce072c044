"""A separator whose output shows every error of chunking, and the settings under which it is compared with published
Demucs. Imported by the script that makes the golden numbers (in the environment of published Demucs) and by the test.
"""

import math

import numpy as np
import torch
from torch import nn


class ToySeparator(nn.Module):
    """Output depends on the neighbourhood of a sample, on its place in the piece, and on the level of the piece."""

    sources = ["near", "far"]
    audio_channels = 2
    samplerate = 100
    segment = 3.07

    def __init__(self) -> None:
        super().__init__()
        taps = np.random.default_rng(1).normal(size=(4, 2, 31)) / 8
        self.filter = nn.Conv1d(2, 4, 31, padding=15, bias=False)
        self.filter.weight.data = torch.from_numpy(taps).float()

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        place = torch.arange(mix.shape[-1], device=mix.device)
        position = 1 + 0.5 * torch.sin(place / 17) + 0.2 * torch.cos((mix.shape[-1] - place) / 5)
        level = mix.abs().mean(dim=(1, 2), keepdim=True)
        out = torch.tanh(self.filter(mix) + 0.1 * level) * position
        return out.view(len(mix), 2, 2, -1)


class ToyWithValidLength(ToySeparator):
    """As a time-domain Demucs: only certain lengths leave no time step over."""

    def valid_length(self, length: int) -> int:
        return math.ceil(length / 64) * 64 + 5


def mixture(length: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(length).normal(size=(1, 2, length))).float()


# model, samples of the mixture, delays of the shift trick as published Demucs draws them (0..50), other settings
CASES = {
    "default": (ToySeparator, 1000, [], {}),
    "odd_length": (ToySeparator, 1003, [], {}),
    "shorter_than_a_segment": (ToySeparator, 101, [], {}),
    "one_sample": (ToySeparator, 1, [], {}),
    "exactly_a_segment": (ToySeparator, 307, [], {}),
    "no_overlap": (ToySeparator, 1000, [], {"overlap": 0.}),
    "half_overlap": (ToySeparator, 1000, [], {"overlap": 0.5}),
    "large_overlap": (ToySeparator, 700, [], {"overlap": 0.9}),
    "power_2": (ToySeparator, 1000, [], {"transition_power": 2., "overlap": 0.5}),
    "segment_override": (ToySeparator, 1000, [], {"segment": 1.5}),
    "no_split": (ToySeparator, 501, [], {"split": False}),
    "shift_0": (ToySeparator, 801, [0], {}),
    "shift_50": (ToySeparator, 801, [50], {}),
    "shifts": (ToySeparator, 801, [13, 50, 0], {"overlap": 0.1}),
    "shift_no_split": (ToySeparator, 333, [7], {"split": False}),
    "shift_tiny_segment": (ToySeparator, 200, [3], {"segment": 0.2}),
    "valid_length": (ToyWithValidLength, 1000, [], {}),
    "valid_length_odd": (ToyWithValidLength, 1003, [], {"overlap": 0.5}),
    "valid_length_short": (ToyWithValidLength, 50, [], {}),
    "valid_length_shifts": (ToyWithValidLength, 801, [21, 34], {"transition_power": 2.}),
    "valid_length_no_split": (ToyWithValidLength, 501, [9], {"split": False}),
}


def sampled(out: torch.Tensor) -> np.ndarray:
    """Stored part of an output [1, S, A, L]: every third sample, and the first and last 40."""
    out = out.flatten(0, 2).numpy()
    return np.concatenate([out[:, :40], out[:, -40:], out[:, ::3]], axis=-1)
