"""Writer of models as TorchScript, for programs that have libtorch but not this project.

The file holds the traced operations and the weights. Tracing fixes the length of the input, the values of
settings, and the branches that Python takes. Implementations for CPUs alone (`dsp.eager`) are left out, since traced
operations must be valid for any device; `benchmarks/bench_deployment.py` measures the cost. TorchScript is deprecated
in torch 2.11, which still reads and writes it.
"""

import contextlib
import io
import json
import typing as tp
import warnings
from pathlib import Path

import torch
from torch import nn

from .. import schema
from ..errors import PackageError
from ..models.protocol import input_length, normalizes_songs
from ..schema import ReleaseCard
from . import weights

KIND = "torchscript"
SUFFIX = ".pt"
LONGEST = 60.            # seconds of the input, for models that separate whole songs
RECORD = "demucs.json"   # in the file: what a program must know to separate songs
TOLERANCE = 1e-5         # largest difference between the traced and the original model, relative to its largest output


class _Checked(nn.Module):
    """Traced model for inputs [1, A, L] as one for [B, A, L], which refuses other shapes."""

    def __init__(self, traced: tp.Any, channels: int, length: int):
        super().__init__()
        self.traced = traced
        self.channels = channels
        self.length = length

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        if mix.dim() != 3 or mix.size(0) < 1 or mix.size(1) != self.channels or mix.size(2) != self.length:
            raise ValueError(f"expected a mixture [batch, {self.channels}, {self.length}]; pad shorter ones with zeros")
        return torch.cat([self.traced(mix[index:index + 1]) for index in range(mix.size(0))])


def traced(model: nn.Module, length: int) -> torch.jit.ScriptModule:
    """`model` as TorchScript, mixture [B, A, `length`] -> estimates [B, S, A, `length`] for any B >= 1, in evaluation
    mode. A mixture of another shape raises an error there.

    Args:
        model: of the zoo, in evaluation mode, on the device on which the result is used: constants stay there.
        length: number of samples, which the model can separate at once.

    Raises:
        ValueError: for a model in training mode.
    """
    if model.training:
        raise ValueError("a model is traced in evaluation mode; call model.eval() before")
    parameter = next(model.parameters())
    # Noise: the branches that Python takes for it are those for music, not those for silence.
    noise = torch.randn(1, model.audio_channels, length, generator=torch.Generator().manual_seed(0))
    example = noise.to(parameter)
    with torch.no_grad(), _without_warnings():
        inner = torch.jit.trace(model, example, check_trace=False)
        return torch.jit.script(_Checked(inner, model.audio_channels, length).eval())


def usual_length(model: nn.Module) -> int:
    """Number of samples for which `save` traces `model`: those of its segment, but at most `LONGEST` seconds."""
    return input_length(model, int(min(float(model.segment), LONGEST) * model.samplerate))


def save(model: nn.Module, path: tp.Union[str, Path], *, card: ReleaseCard) -> ReleaseCard:
    """Write `model` as TorchScript to `path`, for inputs of `usual_length`, and its card to a `.json` file of the same
    name. The file contains the entry `RECORD` (an extra file of `torch.jit.load`): names of the sources, sample rate,
    channels and length of the input, whether songs must be normalised, and the card.

    The result is compared with the model, on noise at two levels, before it is written.

    Returns:
        The completed card.

    Raises:
        PackageError: if the traced model gives other numbers, or the file cannot be written.
    """
    path = Path(path)
    length = usual_length(model)
    script = traced(model, length)
    _require_equal(model, script, length, path)
    card = weights.completed(card, model, weights.stored(model, half=False), "float32")
    record = {"sources": list(model.sources), "samplerate": model.samplerate, "audio_channels": model.audio_channels,
              "length": length, "normalizes_songs": normalizes_songs(model), "card": schema.to_plain(card)}
    buffer = io.BytesIO()
    with _without_warnings():
        torch.jit.save(script, buffer, _extra_files={RECORD: json.dumps(record)})
    weights.write(path, card, lambda file: file.write(buffer.getvalue()))
    return card


@torch.no_grad()
def _require_equal(model: nn.Module, script: torch.jit.ScriptModule, length: int, path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, model.audio_channels, length, generator=generator)
    for level in (1., 0.01):
        expected = model(level * noise)
        error = float((script(level * noise) - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
        if not error <= TOLERANCE:
            raise PackageError(f"{path}: the traced model differs from the model by {error:.1e} of its largest output; "
                               f"export it in plain format")


@contextlib.contextmanager
def _without_warnings() -> tp.Iterator[None]:
    """Context without the warnings of tracing: that TorchScript is deprecated, and that sizes become constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
