"""Channel, sample rate and sample format conversion of waveforms.

Resampling is julius's windowed sinc interpolation for rational rates (J. O. Smith's algorithm,
https://ccrma.stanford.edu/~jos/resample/). Its filter bank depends on the two rates only, so it is built once per pair
and process.
"""

from functools import lru_cache

import julius
import torch

from ..errors import AudioError


@lru_cache(maxsize=8)
def _resampler(from_rate: int, to_rate: int) -> julius.ResampleFrac:
    return julius.ResampleFrac(from_rate, to_rate)


def convert_channels(wav: torch.Tensor, channels: int) -> torch.Tensor:
    """`wav` [..., A, L] with `channels` channels: [..., channels, L]. May share memory with `wav`.

    One channel is the mean of all; one channel is repeated to fill many; of too many channels the first ones are kept.
    Raises AudioError where several channels would have to become more.
    """
    found = wav.shape[-2]
    if found == channels:
        return wav
    if channels == 1:
        return wav.mean(dim=-2, keepdim=True)
    if found == 1:
        return wav.expand(*wav.shape[:-2], channels, wav.shape[-1])
    if found > channels:
        return wav[..., :channels, :]
    raise AudioError(f"cannot make {channels} channels out of {found}: convert the audio to mono or to at least "
                     f"{channels} channels first")


def resample(wav: torch.Tensor, from_rate: int, to_rate: int) -> torch.Tensor:
    """`wav` [..., L] at `from_rate` Hz as [..., floor(L * to_rate / from_rate)] at `to_rate` Hz.

    Raises AudioError for a rate that is not positive.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise AudioError(f"cannot resample from {from_rate} Hz to {to_rate} Hz: sample rates must be positive")
    if from_rate == to_rate:
        return wav
    if wav.shape[-1] == 0:   # the filter repeats the last sample at the borders: there is none
        return wav
    return _resampler(int(from_rate), int(to_rate)).to(wav)(wav)


def convert_audio(wav: torch.Tensor, from_rate: int, to_rate: int, channels: int) -> torch.Tensor:
    """`wav` [..., A, L] at `from_rate` Hz as [..., channels, L'] at `to_rate` Hz. See the two functions above."""
    return resample(convert_channels(wav, channels), from_rate, to_rate)


def to_int16(wav: torch.Tensor) -> torch.Tensor:
    """16-bit PCM of `wav`: the nearest of 32767 steps per unit, limited to [-32767, 32767].

    Published Demucs 4.1.0 cuts off the fraction of the same product, its predecessors took (through torchaudio) the
    nearest of 32768 steps: this is one step away from either at most.
    """
    return (wav.to(torch.float32).clamp(-1, 1) * 32767).round_().to(torch.int16)
