"""Public door to audio conversion and writing, with the names and arguments of published Demucs."""

import typing as tp
from pathlib import Path

import torch

from .data import audio
from .data.audio import prevent_clip
from .dsp import convert

__all__ = ["convert_audio", "convert_audio_channels", "prevent_clip", "save_audio"]


def convert_audio_channels(wav: torch.Tensor, channels: int = 2) -> torch.Tensor:
    """`wav` [..., A, L] with `channels` channels; see `dsp.convert.convert_channels`."""
    return convert.convert_channels(wav, channels)


def convert_audio(wav: torch.Tensor, from_samplerate: int, to_samplerate: int, channels: int) -> torch.Tensor:
    """`wav` [..., A, L] at another rate (Hz) and number of channels; see `dsp.convert`."""
    return convert.convert_audio(wav, from_samplerate, to_samplerate, channels)


def save_audio(wav: torch.Tensor, path: tp.Union[str, Path], samplerate: int, bitrate: int = 320,
               clip: str = "rescale", bits_per_sample: int = 16, as_float: bool = False, preset: int = 2) -> None:
    """Write `wav` [A, L] as .wav, .flac or .mp3, by the suffix of `path`; see `data.audio.write`."""
    audio.write(path, wav, samplerate, clip=clip, bits=bits_per_sample, as_float=as_float, mp3_bitrate=bitrate,
                mp3_preset=preset)
