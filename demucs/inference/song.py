"""A whole song through a model: read, made what the model expects, separated, and brought back to its own level."""

import logging
import shutil
import typing as tp
from pathlib import Path

import soundfile
import torch
from torch import nn

from ..data import audio, mp3, streams
from ..dsp.convert import convert_audio
from ..errors import AudioError
from .apply import separate

logger = logging.getLogger(__name__)

EPSILON = 1e-8    # added to the deviation, so that silence is not divided by zero


def load_song(path: tp.Union[str, Path], *, samplerate: int, channels: int) -> torch.Tensor:
    """The audio of a file as [channels, L] at `samplerate` Hz.

    Of more channels than wanted the first ones are taken, with a warning, as published Demucs does; one channel is
    copied to all. Sample for sample what published Demucs 4.1.0 separates: mp3 with the silence of its encoder (see
    `data.mp3`), and what it leaves to ffmpeg as ffmpeg converts it.

    Raises:
        AudioError: where the file is missing, empty, not audio or damaged, or has samples that are not finite.
        ToolError: where only ffmpeg could read it and is not installed.
    """
    wav, rate = _decode(path, samplerate)
    audio.require_finite(wav, path, rate)
    if wav.shape[0] > channels > 1:
        logger.warning("%s has %d channels: only the first %d are separated", path, wav.shape[0], channels)
    wav = convert_audio(wav, rate, samplerate, channels)
    if wav.shape[-1] == 0:
        raise AudioError(f"{path}: is shorter than one sample at {samplerate} Hz; there is nothing to separate")
    return wav


def _decode(path: tp.Union[str, Path], samplerate: int) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], rate in Hz): at `samplerate` where ffmpeg converts the rate, else at the rate of the file.

    Without ffmpeg, libsndfile reads ogg, a few samples shorter at the end.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            form, coding = file.format, file.subtype
    except (soundfile.LibsndfileError, TypeError):    # TypeError: a suffix that means headerless samples
        return streams.read_first(path, samplerate=samplerate)
    if form == "MP3":
        return mp3.read_with_padding(path)
    if form == "OGG" and shutil.which("ffmpeg"):
        return streams.read_first(path, padding=True) if coding == "VORBIS" else \
            streams.read_first(path, samplerate=samplerate)
    return audio.read(path)


def separate_song(model: nn.Module, mix: torch.Tensor, **settings: tp.Any) -> torch.Tensor:
    """Estimates [S, A, L] of the sources in a song `mix` [A, L] at the model's rate, at the level of the song.

    The song is normalised by mean and deviation of its mono mixture before, and the estimates are brought back after.
    `settings` are those of `apply.separate`.

    Raises:
        AudioError: as `apply.separate`, or where the model's output is not finite.
    """
    mono = mix.mean(dim=0)
    mean = mono.mean()
    deviation = mono.std(correction=min(1, len(mono) - 1)) + EPSILON     # of one sample: 0, not NaN
    estimates = separate(model, ((mix - mean) / deviation)[None], **settings)[0]
    estimates *= deviation
    estimates += mean
    if not torch.isfinite(estimates).all():
        raise AudioError("the output of the model is not finite: its weights or its precision do not suit this song")
    return estimates
