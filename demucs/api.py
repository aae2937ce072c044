"""Public interface for separation: `Separator` for files and tensors, with the arguments and callbacks of published
Demucs.

    separator = Separator("htdemucs")
    mixture, stems = separator.separate_audio_file("song.mp3")
    save_audio(stems["vocals"], "vocals.wav", samplerate=separator.samplerate)
"""

import logging
import typing as tp
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import pretrained
from .audio import reading, save_audio
from .dsp.convert import as_waveform, convert_audio
from .errors import AudioError, DemucsError
from .models.protocol import default_shifts
from .repositories import repository
from .repositories.catalogue import ModelLoadingError
from .separation import defaults
from .separation import settings as allowed
from .separation.devices import gpu_wanted, usable_devices
from .separation.progress import CallbackProgress, reporter, together
from .separation.song import load_song, separate_song
from .separation.song_file import SongFile, separate_in_blocks

logger = logging.getLogger(__name__)

__all__ = ["LoadAudioError", "LoadModelError", "NotProvided", "Separator", "list_models", "save_audio"]

Callback = tp.Callable[[tp.Dict[str, tp.Any]], None]
Stems = tp.Tuple[torch.Tensor, tp.Dict[str, torch.Tensor]]


class LoadAudioError(AudioError):
    """Error for an audio file that cannot be separated: missing, empty, damaged, not audio."""


class LoadModelError(ModelLoadingError):
    """Error for a model that does not exist, or whose file cannot be used. (The name of published Demucs; all are
    `ModelLoadingError`s.)"""


class _NotProvided:
    """Type of the default of arguments for which None is a valid value."""

    def __repr__(self) -> str:
        return "NotProvided"


NotProvided = _NotProvided()


def list_models(repo: tp.Union[None, str, Path] = None) -> tp.Dict[str, tp.Dict[str, tp.Union[str, Path]]]:
    """Available models as {"single": {signature: file or URL}, "bag": {name: file}}: those in the folder `repo`, or
    without it the published ones and those in ./release_models. Nothing is downloaded. Raises SignatureError if `repo`
    is not a folder."""
    return repository.available(repo)


class Separator:
    """A loaded model with the settings of separation, to separate any number of songs.

    Args:
        model: name or signature of a model, as for `pretrained.get_model`, or a loaded model.
        repo: folder with models, in which `model` is then looked for exclusively.
        device: device of the computation; None for that of the audio. Results are on the device of the audio. Several
            devices, such as "cuda:0,1", share the segments of a song.
        shifts: number of random shifts whose estimates are averaged: slower, slightly better; 0 for no shift. By
            default 1, and 0 for models of Open-Unmix.
        overlap: fraction of a segment that overlaps with the next one, in [0, 1).
        split: separate the song in segments; otherwise in one piece.
        segment: length of a segment in seconds; by default that of the model.
        jobs: number of threads on a CPU, each of which needs the memory for one segment; with 0 or 1, segments are
            separated one after the other.
        progress: show the progress: a bar on a terminal, otherwise log lines.
        callback: called with a dictionary when a model begins or ends a segment. Its entries are those of
            `callback_arg`, `model_idx_in_bag` and `shift_idx`, counted from 0, `models` (their number),
            `segment_offset` and `audio_length` (in samples at the model's rate) and `state` ("start" or "end"). An
            exception that it raises, for instance KeyboardInterrupt, ends the separation.
        callback_arg: see `callback`.
        seed: seed of the random shifts.
        precision: "float32", or "bf16" for convolutions and matrix products in bfloat16, or "tf32" for them in TF32 on
            GPUs that support it.
        batch: segments that a model separates in one call; None for as many as the memory of a GPU allows, and for 1 on
            other devices. More change the estimates by rounding.

    Raises:
        LoadModelError: if the model does not exist or cannot be loaded.
        ConfigError: for a device that does not exist, or a number outside its range.
    """

    def __init__(self, model: tp.Union[str, nn.Module] = "htdemucs", repo: tp.Optional[Path] = None,
                 device: tp.Union[None, str, torch.device] = "cuda" if gpu_wanted() else "cpu",
                 shifts: int = defaults.SHIFTS, overlap: float = 0.25, split: bool = True,
                 segment: tp.Optional[float] = None, jobs: int = 0, progress: bool = False,
                 callback: tp.Optional[Callback] = None,
                 callback_arg: tp.Optional[tp.Dict[str, tp.Any]] = None, *, seed: int = 0,
                 precision: str = "float32", batch: tp.Optional[int] = None):
        if isinstance(model, nn.Module):
            self._model = model
        else:
            try:
                self._model = pretrained.get_model(model, None if repo is None else Path(repo))
            except LoadModelError:
                raise
            except DemucsError as error:
                raise LoadModelError(str(error)) from error
        self._settings: tp.Dict[str, tp.Any] = {}
        self.update_parameter(device, shifts, overlap, split, segment, jobs, progress, callback, callback_arg,
                              seed=seed, precision=precision, batch=batch)

    def update_parameter(self, device: tp.Union[None, str, torch.device, _NotProvided] = NotProvided,
                         shifts: tp.Union[int, _NotProvided] = NotProvided,
                         overlap: tp.Union[float, _NotProvided] = NotProvided,
                         split: tp.Union[bool, _NotProvided] = NotProvided,
                         segment: tp.Union[None, float, _NotProvided] = NotProvided,
                         jobs: tp.Union[int, _NotProvided] = NotProvided,
                         progress: tp.Union[bool, _NotProvided] = NotProvided,
                         callback: tp.Union[None, Callback, _NotProvided] = NotProvided,
                         callback_arg: tp.Union[None, tp.Dict[str, tp.Any], _NotProvided] = NotProvided, *,
                         seed: tp.Union[int, _NotProvided] = NotProvided,
                         precision: tp.Union[str, _NotProvided] = NotProvided,
                         batch: tp.Union[None, int, _NotProvided] = NotProvided) -> None:
        """Change those settings that are given; all others keep their values. Arguments and errors are those of the
        class."""
        given = {"device": device, "shifts": shifts, "overlap": overlap, "split": split, "segment": segment,
                 "jobs": jobs, "progress": progress, "callback": callback, "callback_arg": callback_arg, "seed": seed,
                 "precision": precision, "batch": batch}
        allowed.check({name: value for name, value in given.items() if not isinstance(value, _NotProvided)})
        if not isinstance(device, _NotProvided) and device is not None:
            given["device"] = _devices(device)
        self._settings.update({name: value for name, value in given.items() if not isinstance(value, _NotProvided)})

    def separate_tensor(self, wav: tp.Union[torch.Tensor, np.ndarray], sr: tp.Optional[int] = None, *,
                        name: str = "separating") -> Stems:
        """(mixture, {source: estimate}) of `wav` [A, L], all float32 [channels, L'] at the sample rate of the model.
        The mixture is `wav` after conversion.

        Args:
            wav: of any floating-point type, or of an integer type, whose full scale is converted to 1. It is converted
                to the sample rate and number of channels of the model, and not modified.
            sr: its sample rate in Hz; by default that of the model.
            name: title of the progress.

        Raises:
            AudioError: for audio that cannot be separated.
            ConfigError: for an invalid setting.
        """
        wav = as_waveform(wav)
        reading.require_finite(wav, "the audio given", self.samplerate if sr is None else sr)
        return self._separate(wav, sr, name)

    def separate_audio_file(self, file: tp.Union[str, Path]) -> Stems:
        """(mixture, {source: estimate}) of the audio file `file`, all float32 [channels, L] at the sample rate of the
        model. The mixture is the song after conversion.

        Raises:
            LoadAudioError: if the file cannot be read.
            AudioError, ConfigError: as `separate_tensor`.
        """
        try:
            wav = load_song(file, samplerate=self.samplerate, channels=self.audio_channels)
        except DemucsError as error:
            raise LoadAudioError(str(error)) from error
        return self._separate(wav, None, Path(file).name)

    def stream_audio_file(self, file: tp.Union[str, Path]) -> tp.Iterator[Stems]:
        """Consecutive parts of the results of `separate_audio_file`, in memory that does not depend on the length of
        the song. They are computed while the iterator is consumed. The file is read twice; the estimates differ by
        rounding from those of the whole song.

        Raises:
            LoadAudioError: if the file cannot be read.
            AudioError, ConfigError: as `separate_tensor`.
        """
        try:
            song = SongFile(file, samplerate=self.samplerate, channels=self.audio_channels).__enter__()
        except DemucsError as error:
            raise LoadAudioError(str(error)) from error
        with song:
            yield from self.stream_song(song, name=Path(file).name)

    def stream_song(self, song: SongFile, *, name: str) -> tp.Iterator[Stems]:
        """As `stream_audio_file`, of a `SongFile` that was entered and not read. `name` is the title of the
        progress."""
        settings = self._applied(song.length, name)
        device = settings.pop("device")
        for mix, estimates in separate_in_blocks(self._model, song, device="cpu" if device is None else device,
                                                 **settings):
            yield mix, dict(zip(self._model.sources, estimates))

    def _separate(self, wav: torch.Tensor, rate: tp.Optional[int], name: str) -> Stems:
        wav = convert_audio(wav, self.samplerate if rate is None else rate, self.samplerate, self.audio_channels)
        settings = self._applied(wav.shape[-1], name)
        estimates = separate_song(self._model, wav, device=settings.pop("device") or wav.device, **settings)
        return wav, dict(zip(self._model.sources, estimates))

    def _applied(self, length: int, name: str) -> tp.Dict[str, tp.Any]:
        """Keyword arguments of `apply.separate` for a song of `length` samples."""
        settings = dict(self._settings)
        if isinstance(settings["shifts"], defaults.ByModel):
            settings["shifts"] = default_shifts(self._model)
        callback, extra = settings.pop("callback"), settings.pop("callback_arg") or {}
        listeners = [reporter(logger, name) if settings.pop("progress") else None,
                     None if callback is None else CallbackProgress(callback, {**extra, "audio_length": length})]
        workers = settings.pop("jobs")
        return {**settings, "workers": workers, "progress": together(*listeners)}

    @property
    def samplerate(self) -> int:
        """Sample rate of the model in Hz."""
        return self._model.samplerate

    @property
    def audio_channels(self) -> int:
        """Number of audio channels of the model."""
        return self._model.audio_channels

    @property
    def model(self) -> nn.Module:
        """The loaded model or bag."""
        return self._model


def _devices(chosen: tp.Any) -> tp.Any:
    """Device or devices by name, such as "cuda:0,1", or as torch devices."""
    if isinstance(chosen, (list, tuple)):
        chosen = ",".join(map(str, chosen))
    return usable_devices(str(chosen))
