"""Excerpts of example separations for the report, as sounds and as spectrogram pictures.

A folder `examples/SIGNATURE/TRACK/` has one sound file per source, named after the source. `mixture.*`, a folder
`reference/` with the true sources, and `origin.txt` with author and licence are optional. One excerpt is cut from each
track where all sources play, at the same time for all runs that separated the track.
"""

import base64
import io
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
from PIL import Image

from demucs.audio.samples import read_samples
from demucs.errors import AudioError
from demucs.runs.layout import ORIGIN

SUFFIXES = (".wav", ".mp3", ".flac", ".ogg")
MIXTURE, REFERENCE = "mixture", "reference"
LOWEST, HIGHEST = 40., 16000.   # Hz
RANGE = 80.                     # dB
_FRAME, _HOP, _ROWS = 4096, 1024, 160

Sounds = tp.Dict[str, tp.Tuple[np.ndarray, int]]   # by file name: samples [L, A], rate


@dataclass(frozen=True)
class Clip:
    """Part of a sound for a page, as data URIs: the sound as MP3 (`audio`) and its spectrogram as PNG (`picture`)."""
    audio: str
    picture: str


@dataclass(frozen=True)
class Excerpt:
    """The same part of all sound files of a track: `clips[source][column]`, where a column is a run or "reference". A
    source that a run did not separate has no clip in its column. `start` and `seconds` are its place in the song."""
    track: str
    start: float      # seconds
    seconds: float
    mixture: tp.Optional[Clip]
    columns: tp.List[str]
    clips: tp.Dict[str, tp.Dict[str, Clip]]
    origin: str = ""    # text of origin.txt


def track_folders(folder: Path) -> tp.List[Path]:
    """Folders at any depth below `folder` with sound files of separations, sorted by path; [] if there are none.
    Folders of references are left out."""
    found = {path.parent for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}
    return sorted(path for path in found if path.name != REFERENCE)


def shared_tracks(folders: tp.Mapping[str, Path]) -> tp.List[tp.Dict[str, Path]]:
    """Folders of each track that all runs separated: one dict per track, {column (run): folder}. `folders` maps columns
    to the runs' folders of examples; at least one."""
    found = {column: {path.name: path for path in track_folders(folder)} for column, folder in folders.items()}
    first, *others = found.values()
    return [{column: tracks[name] for column, tracks in found.items()} for name in first
            if all(name in tracks for tracks in others)]


def excerpt(folders: tp.Mapping[str, Path], sources: tp.Sequence[str], seconds: float) -> Excerpt:
    """Excerpt of up to `seconds` from all sound files of a track, where all its sources play: its start is chosen by
    the references, or without them by the sources of the first column. `folders` maps columns to folders of the track.
    `sources` is the order of the sources.

    Raises AudioError if a file cannot be read or sample rates differ.
    """
    columns: tp.Dict[str, Sounds] = {name: _read_all(folder) for name, folder in folders.items()}
    references = next((sounds for folder in folders.values() if (sounds := _read_all(folder / REFERENCE))), {})
    if references:
        columns[REFERENCE] = references
    everything = [sound for sounds in columns.values() for sound in sounds.values()]
    first = next(iter(folders.values()))
    if len({rate for _, rate in everything}) != 1:
        raise AudioError(f"{first}: the files have different sample rates; separate the track again")
    rate = everything[0][1]
    heard = references or columns[next(iter(folders))]
    start = _liveliest([sound for name, (sound, _) in heard.items() if name != MIXTURE], rate, seconds)
    cuts = {(column, name): sound[int(start * rate):int((start + seconds) * rate)]
            for column, sounds in columns.items() for name, (sound, _) in sounds.items()}
    powers = {key: _power(cut, rate) for key, cut in cuts.items() if len(cut)}
    loudest = max(float(power.max()) for power in powers.values())
    made = {key: Clip(audio=audio_uri(cuts[key], rate), picture=_picture(power, loudest)) for key, power in powers.items()
            if key[1] != MIXTURE or key[0] == next(iter(folders))}
    rank = {name: number for number, name in enumerate(sources)}
    names = sorted({name for _, name in made if name != MIXTURE}, key=lambda name: (rank.get(name, len(rank)), name))
    return Excerpt(track=first.name, start=start, seconds=max(map(len, cuts.values())) / rate, columns=list(columns),
                   mixture=next((clip for (_, name), clip in made.items() if name == MIXTURE), None),
                   clips={name: {column: made[column, name] for column in columns if (column, name) in made}
                          for name in names},
                   origin=_origin(folders.values()))


def _origin(folders: tp.Iterable[Path]) -> str:
    """Text about author and licence of a track, from the first folder that has one."""
    found = next((folder / ORIGIN for folder in folders if (folder / ORIGIN).is_file()), None)
    return "" if found is None else found.read_text(encoding="utf-8", errors="replace").strip()


def _read_all(folder: Path) -> Sounds:
    sounds = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        sound, rate = read_samples(path, dtype="float32")
        if len(sound) == 0:
            raise AudioError(f"{path}: holds no sound; separate the track again")
        sounds[path.stem] = (sound, rate)
    return sounds


def _liveliest(sounds: tp.Sequence[np.ndarray], rate: int, seconds: float) -> float:
    """Start of the excerpt, in whole seconds, that maximises the activity of its least active source. Activity is the
    RMS level relative to the source's level in the whole song."""
    whole = min((len(sound) for sound in sounds), default=0) // rate
    length = int(seconds)
    if whole <= length:
        return 0.
    levels = np.stack([(sound[:whole * rate] ** 2).reshape(whole, -1).mean(axis=1) for sound in sounds])
    levels = np.sqrt(levels / np.maximum(levels.mean(axis=1, keepdims=True), 1e-12))
    activity = [levels[:, start:start + length].mean(axis=1).min() for start in range(whole - length + 1)]
    return float(np.argmax(activity))


def height_of(frequency: float) -> float:
    """Vertical position of a frequency in Hz in a spectrogram picture: 0 at the lower edge, 1 at the upper."""
    return float(np.log(frequency / LOWEST) / np.log(HIGHEST / LOWEST))


def audio_uri(sound: np.ndarray, rate: int) -> str:
    """Data URI of the sound as MP3, which all browsers play and which is much smaller than WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sound[:, :2], -1, 1), rate, format="MP3")
    return data_uri(buffer, "audio/mpeg")


def _power(sound: np.ndarray, rate: int) -> np.ndarray:
    """Power at logarithmically spaced frequencies over time, shape [rows, frames], the highest frequency first.
    Frequencies above half the sample rate have power 0."""
    mono = np.pad(sound.mean(axis=1), (0, max(0, _FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(mono, _FRAME)[::_HOP] * np.hanning(_FRAME).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)).T ** 2
    wanted = np.round(np.geomspace(HIGHEST, LOWEST, _ROWS) * _FRAME / rate).astype(int)
    return np.where((wanted < len(power))[:, None], power[np.minimum(wanted, len(power) - 1)], 0.)


def _picture(power: np.ndarray, loudest: float) -> str:
    """Data URI of a spectrogram as a PNG with a palette. `loudest` is the power shown in the brightest colour."""
    level = 10 * np.log10(np.maximum(power / max(loudest, 1e-12), 1e-12))
    shades = np.round(255 * np.clip(1 + level / RANGE, 0, 1)).astype(np.uint8)
    image = Image.fromarray(shades)    # grey levels become indices of the palette
    image.putpalette((matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer, "image/png")


def data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
