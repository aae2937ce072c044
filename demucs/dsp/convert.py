"""Conversion of number of channels, sample rate and sample format of waveforms.

Resampling is the windowed sinc interpolation of julius for rational ratios (J. O. Smith's algorithm,
https://ccrma.stanford.edu/~jos/resample/). Its filter bank depends on the two rates only, so it is computed once per
pair and process. It has one filter per output sample of the shortest common period of the rates, so that for rates like
44 099 and 44 100 Hz it would take gigabytes. Such pairs are resampled by libsoxr, whose filters do not depend on the
ratio; its "very high quality" is flat to 0.05 dB up to 0.93 of the lower Nyquist frequency and leaves less than -130 dB
above it (measured in tests).
"""

import dataclasses
import math
import typing as tp
from functools import lru_cache

import julius
import numpy as np
import soxr
import torch

from ..errors import AudioError
from ..ranges import POSITIVE, shown

RATES = dataclasses.replace(POSITIVE, whole=False)      # 44100.0 is a valid sample rate, too
LARGEST_BANK = 2 ** 25      # coefficients, 128 MiB; common pairs of rates have fewer than 2 ** 20
ZEROS = 24                  # zero crossings of julius's sinc on each side
ROLLOFF = 0.945             # cut-off of the sinc relative to the lower Nyquist frequency


def _bank_size(from_rate: int, to_rate: int) -> int:
    """Number of coefficients of julius's filter bank, which has one filter per output sample of a period."""
    common = math.gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    return new * (2 * math.ceil(ZEROS * old / (ROLLOFF * min(old, new))) + old)


@lru_cache(maxsize=8)
def _resampler(from_rate: int, to_rate: int) -> julius.ResampleFrac:
    return julius.ResampleFrac(from_rate, to_rate)


MOST_CHANNELS = 64      # with more, the dimensions of a waveform were probably exchanged


def as_float(wav: tp.Union[torch.Tensor, np.ndarray]) -> torch.Tensor:
    """Samples of `wav`, of any shape, as a float32 tensor: floats are not scaled; integers are divided by their full
    scale, so that they are in [-1, 1], and of unsigned integers the middle is 0. The result may share memory with
    `wav`.

    Raises AudioError for other objects, sparse, quantised or meta tensors, complex numbers and booleans.
    """
    if isinstance(wav, np.ndarray):
        try:
            wav = torch.from_numpy(np.ascontiguousarray(wav, dtype=wav.dtype.newbyteorder("=")))
        except TypeError:
            raise AudioError(f"audio of type {wav.dtype} cannot be used: give floats, or integers of 8 to 64 "
                             f"bits") from None
    if not isinstance(wav, torch.Tensor):
        raise AudioError(f"expected a tensor or a numpy array of shape [channels, samples], got {type(wav).__name__}")
    if wav.layout != torch.strided or wav.is_quantized or wav.is_meta:
        kind = "meta" if wav.is_meta else "quantised" if wav.is_quantized else "sparse"
        raise AudioError(f"a {kind} tensor holds no samples that can be used: give a dense one of floats or integers")
    if wav.dtype.is_floating_point:
        return wav.to(torch.float32)
    if wav.dtype.is_complex or wav.dtype == torch.bool:
        raise AudioError(f"audio of type {wav.dtype} cannot be used: give floats, or integers of 8 to 64 bits")
    limits = torch.iinfo(wav.dtype)
    middle = (limits.max + 1) / 2 if limits.min == 0 else 0.       # zero level of unsigned samples
    return ((wav.double() - middle) / (middle or limits.max + 1.)).float()


def as_waveform(wav: tp.Union[torch.Tensor, np.ndarray]) -> torch.Tensor:
    """Samples of `wav`, [channels, samples], converted as by `as_float`. Raises AudioError as `as_float`, for an empty
    array, for another number of dimensions, and for more channels than both 64 and the number of samples, which were
    probably exchanged."""
    wav = as_float(wav)
    if wav.dim() != 2 or not wav.numel():
        raise AudioError(f"expected audio of shape [channels, samples], got {list(wav.shape)}")
    if wav.shape[0] > max(MOST_CHANNELS, wav.shape[1]):
        raise AudioError(f"expected audio of shape [channels, samples], got {list(wav.shape)}, which looks like "
                         f"[samples, channels]: give its transpose")
    return wav


def convert_channels(wav: torch.Tensor, channels: int) -> torch.Tensor:
    """Waveform [..., channels, L] made from `wav` [..., A, L]. It is `wav` itself if A is `channels`, and may share
    memory with it otherwise.

    For `channels` = 1 it is the mean of all channels. A mono signal is copied to all channels. Of more than `channels`
    channels the first ones are kept. Raises AudioError for an increase from several channels to more, and for an
    invalid number of channels.
    """
    if channels not in POSITIVE:
        raise AudioError(f"channels={shown(channels)} {POSITIVE.demand(channels)}")
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
    """Waveform [..., L] resampled along its last axis from `from_rate` to `to_rate` (Hz). The length is floor(L *
    to_rate / from_rate); above 2 ** 24 samples it may differ by one or two. `wav` itself is returned if the rates are
    equal or L is 0.

    Raises AudioError for a rate that is not a positive whole number.
    """
    if not all(rate in RATES and float(rate).is_integer() for rate in (from_rate, to_rate)):
        raise AudioError(f"cannot resample from {shown(from_rate)} Hz to {shown(to_rate)} Hz: sample rates must be "
                         f"positive whole numbers")
    if from_rate == to_rate:
        return wav
    if wav.shape[-1] == 0:   # the filter extends the signal by its last sample, which does not exist
        return wav
    if _bank_size(int(from_rate), int(to_rate)) <= LARGEST_BANK:
        return _resampler(int(from_rate), int(to_rate)).to(wav)(wav)
    return _resample_any(wav, int(from_rate), int(to_rate))


def _resample_any(wav: torch.Tensor, from_rate: int, to_rate: int) -> torch.Tensor:
    """`resample` with libsoxr, for any two rates."""
    length = wav.shape[-1] * to_rate // from_rate
    rows = [soxr.resample(row, from_rate, to_rate, quality="VHQ") for row in
            wav.detach().to("cpu", torch.float32).reshape(-1, wav.shape[-1]).numpy()]
    out = np.zeros((len(rows), length), np.float32)
    for target, row in zip(out, rows):
        target[:len(row)] = row[:length]
    return torch.from_numpy(out).reshape(*wav.shape[:-1], length).to(wav)


def convert_audio(wav: torch.Tensor, from_rate: int, to_rate: int, channels: int) -> torch.Tensor:
    """Waveform `wav` [..., A, L] at `from_rate` Hz as [..., channels, L'] at `to_rate` Hz: `convert_channels`, then
    `resample`, with their errors. May share memory with `wav`."""
    return resample(convert_channels(wav, channels), from_rate, to_rate)


def to_int16(wav: torch.Tensor) -> torch.Tensor:
    """16-bit PCM of `wav`, a new int16 tensor: samples are limited to [-1, 1], multiplied by 32767, and rounded to the
    nearest integer (halves to even).

    Published Demucs 4.1.0 truncates the same product; earlier versions (through torchaudio) rounded 32768 times the
    sample. The difference to either is at most one step.
    """
    return wav.to(torch.float32).clamp(-1, 1).mul_(32767).round_().to(torch.int16)
