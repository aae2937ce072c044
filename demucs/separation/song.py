"""Separation of a whole song: reading, conversion to the model's format, normalisation, separation, denormalisation."""

import contextlib
import logging
import shutil
import tempfile
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..audio import reading, joined, mp3, streams
from ..audio.ffmpeg import existing_file, installed
from ..dsp.convert import convert_audio
from ..errors import AudioError
from ..models.protocol import normalizes_songs
from .apply import separate
from .bag import BagOfModels
from .stream import Level

logger = logging.getLogger(__name__)

NOT_FINITE = "the output of the model is not finite: its weights or its precision do not suit this song"
EPSILON = 1e-8    # added to the standard deviation, so that silence is not divided by zero


def load_song(path: tp.Union[str, Path], *, samplerate: int, channels: int) -> torch.Tensor:
    """Audio of a file as float32 [channels, L] at `samplerate` Hz.

    If the file has more than `channels` channels, the first ones are used, with a warning, as in published Demucs; for
    `channels` = 1 it is their mean. A mono file is copied to all channels. The samples equal those that published
    Demucs 4.1.0 separates: mp3 includes the encoder delay (see `audio.mp3`), and formats that it reads through ffmpeg
    are converted by ffmpeg. Damaged files are decoded as far as possible, with a warning. A pipe is read to its end.

    Raises:
        AudioError: if the file is missing, empty or not audio, nothing of it can be decoded, it has samples that are
            not finite, or several channels but fewer than `channels`.
        ToolError: if only ffmpeg could read it and ffmpeg is not installed.
    """
    with regular_file(Path(path)) as file:
        wav, rate = _decode(file, samplerate)
    reading.require_finite(wav, path, rate)
    if wav.shape[0] > channels > 1:
        logger.warning("%s has %d channels: only the first %d are separated", path, wav.shape[0], channels)
    wav = convert_audio(wav, rate, samplerate, channels)
    if wav.shape[-1] == 0:
        raise AudioError(f"{path}: is shorter than one sample at {samplerate} Hz; there is nothing to separate")
    return wav


@contextlib.contextmanager
def regular_file(path: Path) -> tp.Iterator[Path]:
    """Context with a file that can be read more than once: the content of a pipe is copied to a temporary file of the
    same name."""
    try:
        pipe = path.is_fifo()
    except (OSError, ValueError):       # an invalid file name: opening it later raises the error
        pipe = False
    if not pipe:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="demucs-") as folder:
        kept = Path(folder) / path.name
        try:
            with open(path, "rb") as source, open(kept, "wb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise AudioError(f"{path}: what this pipe gives cannot be kept in {folder} ({error.strerror})") from error
        if not kept.stat().st_size:
            raise AudioError(f"{path}: this pipe gave nothing")
        try:
            yield kept
        except AudioError as error:
            raise AudioError(str(error).replace(str(kept), str(path))) from error


def _decode(path: Path, samplerate: int) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], sample rate in Hz): at `samplerate` if ffmpeg resamples, otherwise at the rate of the file.

    Without ffmpeg, ogg is read by libsndfile, a few samples shorter at the end. If libsndfile fails, ffmpeg is tried.
    """
    path = existing_file(path)
    parts = joined.files_in(path)
    if parts:
        try:
            return joined.join(path, [joined.decode(path, part) for part in parts])
        except AudioError as error:
            logger.warning("%s; it holds %d files, of which the later ones may be lost", error, len(parts))
    form, coding = reading.kind(path)
    if form is None or coding == "GSM610" and installed():
        return streams.read_first(path, samplerate=samplerate)
    if form == "OGG" and installed():
        return streams.read_first(path, padding=True) if coding == "VORBIS" else \
            streams.read_first(path, samplerate=samplerate)
    try:
        return mp3.read_with_padding(path) if form == "MP3" else reading.read(path, complete=False)
    except AudioError:
        if installed():
            with contextlib.suppress(AudioError):
                return streams.read_first(path, samplerate=samplerate)
        raise


def separate_song(model: nn.Module, mix: torch.Tensor, **settings: tp.Any) -> torch.Tensor:
    """Estimates [S, A, L] of the sources in a song `mix` [A, L] (float, at the model's sample rate), at the level of
    the song.

    If the model expects normalised songs (`SeparationModel.normalizes_songs`), the song is normalised by the mean and
    standard deviation of its mono mixture, and the estimates are denormalised. Of a bag, each model gets the song as it
    expects it. `mix` is not modified. `settings` are the keyword arguments of `apply.separate`.

    Raises:
        AudioError: as `apply.separate`, or if the model's output is not finite.
        ConfigError: as `apply.separate`.
    """
    if isinstance(model, BagOfModels) and len(set(map(normalizes_songs, model.models))) > 1:
        mean, scale = _level(mix)
        estimates = separate(model, mix[None], level=Level(float(mean), float(scale)), **settings)[0]
    elif normalizes_songs(model):
        mean, scale = _level(mix)
        estimates = separate(model, (mix - mean).div_(scale)[None], **settings)[0]
        estimates *= scale
        estimates += mean
    else:
        estimates = separate(model, mix[None], **settings)[0]
    if not reading.all_finite(estimates):
        raise AudioError(NOT_FINITE)
    return estimates


def _level(mix: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (plus EPSILON) of the mono mixture of `mix` [A, L], both scalars."""
    mono = mix.mean(dim=0)
    std = mono.std(correction=min(1, len(mono) - 1))        # the std of a single sample is 0, not NaN
    return mono.mean(), std + EPSILON
