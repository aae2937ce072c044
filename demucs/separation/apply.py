"""Separation of mixtures that are in memory.

The estimates equal those of published Demucs for the same settings. The delays of the shift trick come from a keyed
random generator instead of the global one, so a separation can be repeated.
"""

import typing as tp

import torch
from torch import nn

from ..audio.reading import require_finite
from ..dsp.convert import as_float
from ..errors import AudioError
from . import settings as allowed
from .devices import Devices
from .plan import Progress
from .precision import check_precision
from .stream import Level, stream


def separate(model: nn.Module, mix: torch.Tensor, *, shifts: int = 1, split: bool = True, overlap: float = 0.25,
             transition_power: float = 1., segment: tp.Optional[float] = None,
             device: Devices = None, seed: int = 0, progress: tp.Optional[Progress] = None, workers: int = 0,
             precision: str = "float32", level: tp.Optional[Level] = None, batch: tp.Optional[int] = 1) -> torch.Tensor:
    """Estimates float32 [B, S, A, L] of the sources in `mix` [B, A, L], on the device of `mix`, which is not modified.

    Afterwards the model is in its previous training mode and on its previous device. The models of a bag are moved to
    `device` one at a time; a model with weight 0 for all sources is skipped.

    Args:
        model: a `models.protocol.SeparationModel`, or a module with `sources`, `audio_channels`, `samplerate` and
            `segment`, and optionally `valid_length(samples) -> samples`; or a `BagOfModels` of such.
        mix: at the model's rate and number of channels, normalised as in training. Integers are scaled as in
            `dsp.convert.as_float`.
        shifts: rounds of the shift trick, each with a random delay, whose estimates are averaged; 0 for one round
            without a delay.
        split: cut the song into segments; otherwise the model processes the whole song in one call.
        overlap: fraction of a segment that the next one overlaps, in [0, 1).
        transition_power: >= 1; larger values make the cross-fades steeper.
        segment: length of a segment in seconds; default: that of the model.
        device: where to compute; default: the device of the model. Several devices share the chunks.
        seed: random seed of the delays of the shift trick.
        progress: called at the start and at the end of each chunk, from one thread at a time.
        workers: number of threads on a CPU, each of which takes the memory of one chunk; with 0 or 1, and on a GPU,
            chunks are computed one after the other.
        precision: "float32", "bf16" or "tf32"; see `precision`.
        level: for a mixture that is not normalised: its `stream.Level`.
        batch: largest number of chunks that are one call of a model; None: on a GPU what fits into its memory,
            elsewhere 1.

    Raises:
        AudioError: for a mixture without samples, with samples that are not finite, or of another number of channels.
        ConfigError: for an impossible setting, such as a segment longer than the one a transformer was trained on.
    """
    mix = as_float(mix)
    if mix.dim() != 3 or mix.shape[1] != model.audio_channels or mix.shape[-1] == 0:
        raise AudioError(f"the model separates [batch, {model.audio_channels} channels, samples], "
                         f"got a mixture of shape {tuple(mix.shape)}")
    allowed.check({"shifts": shifts, "overlap": overlap, "transition_power": transition_power, "segment": segment,
                   "seed": seed, "workers": workers, "batch": batch})
    check_precision(precision)
    require_finite(mix, "the mixture", model.samplerate)
    read: tp.Callable[[int, int], torch.Tensor] = lambda start, stop: mix[..., start:stop]
    (whole,) = stream(model, read, mix.shape[-1], shifts=shifts, split=split, overlap=overlap,
                      transition_power=transition_power, segment=segment, device=device, seed=seed, progress=progress,
                      workers=workers, precision=precision, level=level, batch=batch)
    return whole.estimates
