"""Bags of toy separators, and the settings under which they are compared with published Demucs.

Imported by the script that makes the golden numbers (in the environment of published Demucs) and by the test: both
have a `demucs.htdemucs.HTDemucs` whose rules for segments apply to what is derived from it.
"""

from fractions import Fraction

import torch
from demucs.htdemucs import HTDemucs
from golden.apply_cases import ToySeparator, ToyWithValidLength
from torch import nn
from torch.nn import functional as F


class Softer(ToySeparator):
    """Another model with the same sources: its filter runs backwards."""
    segment = 2.4

    def __init__(self) -> None:
        super().__init__()
        self.filter.weight.data = 0.7 * self.filter.weight.data.flip(-1)


class ToyTransformer(HTDemucs):
    """Wants pieces of its training length, and puts zeros after shorter ones."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.sources, self.audio_channels, self.samplerate = ToySeparator.sources, 2, 100
        self.segment = Fraction(31, 10)
        self.use_train_segment = True
        self.inner = ToySeparator()

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        missing = max(0, int(self.segment * self.samplerate) - mix.shape[-1])
        return self.inner(F.pad(mix, (0, missing)))[..., :mix.shape[-1]]


class FreeTransformer(ToyTransformer):
    """One that takes pieces of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.use_train_segment = False

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return self.inner(mix)


THREE = (ToySeparator, Softer, ToyWithValidLength)

# models, their weights, segment of the bag; samples of the mixture; delays of the shift trick as published Demucs draws
# them (0..50), model by model; other settings
CASES = {
    "one": ((Softer,), None, None, 700, [], {}),
    "equal": (THREE, None, None, 1003, [], {}),
    "weights": (THREE, [[1., 0.], [2.5, 1.], [0., 3.]], None, 1000, [], {}),
    "one_without_weight": (THREE, [[1., 1.], [0., 0.], [1., 2.]], None, 1000, [], {}),
    "segment": (THREE, None, 1.7, 1000, [], {"overlap": 0.5}),
    "shifts": (THREE, [[1., 2.], [1., 1.], [3., 1.]], None, 801, [[13, 50], [0, 7], [25, 31]], {}),
    "segment_override": (THREE, None, 1.7, 900, [], {"segment": 2.2, "transition_power": 2.}),
    "no_split": (THREE, None, None, 333, [[3], [4], [50]], {"split": False}),
    "transformer": ((ToyTransformer,), None, None, 1000, [], {}),
    "transformer_short": ((ToyTransformer,), None, None, 120, [], {}),
    "transformer_segment": ((ToyTransformer, Softer), None, None, 1000, [[20], [30]], {"segment": 1.9}),
    "transformer_shorter_bag": ((ToyTransformer, Softer), None, 2.1, 1000, [], {}),
    "transformer_longer_bag": ((ToyTransformer, Softer), None, 4.4, 1000, [], {}),
    "transformer_no_split": ((ToyTransformer,), None, None, 250, [[9]], {"split": False}),
    "transformer_no_split_segment": ((ToyTransformer,), None, None, 250, [], {"split": False, "segment": 2.7}),
    "free_transformer": ((FreeTransformer, Softer), None, None, 1000, [], {}),
    "free_transformer_segment": ((FreeTransformer, Softer), None, None, 1000, [[5], [6]], {"segment": 1.3}),
    "free_transformer_no_split": ((FreeTransformer,), None, None, 555, [], {"split": False}),
}
