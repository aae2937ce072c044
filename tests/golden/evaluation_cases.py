"""A tiny test set and a separator, scored by published Demucs and by us. Imported by the script that makes the golden
numbers and by the test."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

RATE = 8000
STEMS = ("drums", "bass", "other", "vocals")


class Leaky(nn.Module):
    """Knows nothing of music: differences and sums of neighbouring samples, so that errors differ by source."""

    sources = ["drums", "vocals"]
    audio_channels = 2
    samplerate = RATE
    segment = 1.3

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([0.6, 0.7]))

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        before = nn.functional.pad(mix, (1, 0))[..., :-1]
        return torch.stack([self.gain[0] * (mix - before), self.gain[1] * (mix + before)], dim=1)


def write_tracks(root: Path) -> None:
    """ROOT/test/TRACK/*.wav: three tracks of coloured noises, with a constant offset and a silent second."""
    for number, (name, seconds) in enumerate([("First - One", 4.5), ("Second - Two", 3.), ("Third - Three", 3.7)]):
        folder = root / "test" / name
        folder.mkdir(parents=True)
        draw = np.random.default_rng(number)
        stems = {}
        for index, stem in enumerate(STEMS):
            noise = draw.normal(size=(round(seconds * RATE) + 8, 2))
            colour = np.array([1, -1, 0, 0, 0.5, -0.5, 0, 0]) if index % 2 == 0 else np.hanning(8)
            wav = np.stack([np.convolve(noise[:, channel], colour, "valid") for channel in range(2)], axis=1)
            stems[stem] = wav[:round(seconds * RATE)] * 0.02 * (1 + index * number) + 0.01 * (index == 3)
        stems["vocals"][:RATE] = 0
        for stem, wav in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(folder / f"{stem}.wav", wav, RATE, subtype="PCM_16")
