"""Short pieces of example separations for the report, as sound and as spectrogram pictures.

A folder `examples/SIGNATURE/TRACK/` holds one sound file per source, named after it, perhaps `mixture.*`, and perhaps
a folder `reference/` with the true sources. From each track one excerpt is cut where all sources play.
"""

import base64
import io
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.image import imsave

from demucs.errors import AudioError

SUFFIXES = (".wav", ".mp3", ".flac", ".ogg")
MIXTURE = "mixture"
_FRAME, _HOP = 4096, 1024
_LOWEST, _HIGHEST, _ROWS, _RANGE = 40., 16000., 160, 80.   # Hz, Hz, picture rows, dB


@dataclass(frozen=True)
class Clip:
    """One sound of an excerpt: data URIs of its audio and its spectrogram."""
    name: str
    audio: str
    picture: str


@dataclass(frozen=True)
class Excerpt:
    """The same seconds of every file of a track, the mixture first. `references` has the true sources, by name."""
    track: str
    start: float      # seconds
    seconds: float
    clips: tp.List[Clip]
    references: tp.Dict[str, Clip]


def track_folders(folder: Path) -> tp.List[Path]:
    """Folders below `folder` that hold separations, in order of name; [] where there is none."""
    found = {path.parent for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}
    return sorted(path for path in found if path.name != "reference")


def excerpt(folder: Path, sources: tp.Sequence[str], seconds: float) -> Excerpt:
    """Cut `seconds` from every sound file of a track. Raises AudioError where a file cannot be read."""
    sounds = _read_all(folder)
    references = {f"reference/{name}": sound for name, sound in _read_all(folder / "reference").items()}
    if len({rate for _, rate in sounds.values()}) != 1:
        raise AudioError(f"{folder}: the files have different sample rates; separate the track again")
    rate = next(iter(sounds.values()))[1]
    start = _liveliest([sound for name, (sound, _) in sounds.items() if name != MIXTURE], rate, seconds)
    rank = {name: number for number, name in enumerate([MIXTURE, *sources])}
    everything = {**sounds, **references}
    cuts = {name: sound[int(start * rate):int((start + seconds) * rate)] for name, (sound, _) in everything.items()}
    loudest = max(float(_power(cut, rate).max()) for cut in cuts.values() if len(cut))
    clips = {name: Clip(name=name.split("/")[-1], audio=_audio(cut, rate), picture=_picture(cut, rate, loudest))
             for name, cut in cuts.items() if len(cut)}
    shown = sorted((name for name in sounds if name in clips), key=lambda name: (rank.get(name, len(rank)), name))
    return Excerpt(track=folder.name, start=start, seconds=max(map(len, cuts.values())) / rate,
                   clips=[clips[name] for name in shown],
                   references={clips[name].name: clips[name] for name in references if name in clips})


def _read_all(folder: Path) -> tp.Dict[str, tp.Tuple[tp.Any, int]]:
    sounds = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (RuntimeError, OSError) as error:
            raise AudioError(f"{path}: cannot be read as audio ({error}); separate the track again") from error
        if len(sound) == 0:
            raise AudioError(f"{path}: holds no sound; separate the track again")
        sounds[path.stem] = (sound, rate)
    return sounds


def _liveliest(sounds: tp.Sequence[tp.Any], rate: int, seconds: float) -> float:
    """Start, in whole seconds, of the stretch in which the least active source plays most, relative to its level."""
    whole = min((len(sound) for sound in sounds), default=0) // rate
    length = int(seconds)
    if whole <= length:
        return 0.
    levels = np.stack([(sound[:whole * rate] ** 2).reshape(whole, -1).mean(axis=1) for sound in sounds])
    levels = np.sqrt(levels / np.maximum(levels.mean(axis=1, keepdims=True), 1e-12))
    activity = [levels[:, start:start + length].mean(axis=1).min() for start in range(whole - length + 1)]
    return float(np.argmax(activity))


def _audio(sound: tp.Any, rate: int) -> str:
    """MP3, which every browser plays and which is a tenth of the size of WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sound[:, :2], -1, 1), rate, format="MP3")
    return _data_uri(buffer, "audio/mpeg")


def _power(sound: tp.Any, rate: int) -> tp.Any:
    """Power in logarithmically spaced bands over time, shape [rows, frames], the highest band first."""
    mono = np.pad(sound.mean(axis=1), (0, max(0, _FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(mono, _FRAME)[::_HOP] * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(frames, axis=1)).T ** 2
    wanted = np.geomspace(min(_HIGHEST, rate / 2), _LOWEST, _ROWS) * _FRAME / rate
    return power[np.minimum(np.round(wanted).astype(int), len(power) - 1)]


def _picture(sound: tp.Any, rate: int, loudest: float) -> str:
    level = 10 * np.log10(np.maximum(_power(sound, rate) / max(loudest, 1e-12), 1e-12))
    buffer = io.BytesIO()
    imsave(buffer, np.maximum(level, -_RANGE), vmin=-_RANGE, vmax=0, cmap="magma", format="png")
    return _data_uri(buffer, "image/png")


def _data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
