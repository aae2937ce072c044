"""Short pieces of example separations for the report, as sound and as spectrogram pictures.

A folder `examples/SIGNATURE/TRACK/` holds one sound file per source, named after it, perhaps `mixture.*`, perhaps a
folder `reference/` with the true sources, and perhaps `origin.txt` about author and licence. From each track one
excerpt is cut where all sources play, the same one from all runs that separated it.
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
    """Data URIs of a sound and its spectrogram."""
    audio: str
    picture: str


@dataclass(frozen=True)
class Excerpt:
    """The same seconds of every file of a track. `clips[source][column]`, where a column is a run or "reference"; a
    source that a run did not separate has no clip there."""
    track: str
    start: float      # seconds
    seconds: float
    mixture: tp.Optional[Clip]
    columns: tp.List[str]
    clips: tp.Dict[str, tp.Dict[str, Clip]]
    origin: str = ""    # text of origin.txt


def track_folders(folder: Path) -> tp.List[Path]:
    """Folders below `folder` that hold separations, in order of name; [] where there is none."""
    found = {path.parent for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}
    return sorted(path for path in found if path.name != REFERENCE)


def shared_tracks(folders: tp.Mapping[str, Path]) -> tp.List[tp.Dict[str, Path]]:
    """For each track that all runs separated, by name, the folder of each run. `folders` are those of the runs'
    examples, by the names of their columns."""
    found = {column: {path.name: path for path in track_folders(folder)} for column, folder in folders.items()}
    first, *others = found.values()
    return [{column: tracks[name] for column, tracks in found.items()} for name in first
            if all(name in tracks for tracks in others)]


def excerpt(folders: tp.Mapping[str, Path], sources: tp.Sequence[str], seconds: float) -> Excerpt:
    """Cut `seconds` from every sound file of a track, which lies in one folder for each column. Raises AudioError where
    a file cannot be read, or rates differ."""
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
    made = {key: Clip(audio=_audio(cuts[key], rate), picture=_picture(power, loudest)) for key, power in powers.items()
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
    """Start, in whole seconds, of the stretch in which the least active source plays most, relative to its level."""
    whole = min((len(sound) for sound in sounds), default=0) // rate
    length = int(seconds)
    if whole <= length:
        return 0.
    levels = np.stack([(sound[:whole * rate] ** 2).reshape(whole, -1).mean(axis=1) for sound in sounds])
    levels = np.sqrt(levels / np.maximum(levels.mean(axis=1, keepdims=True), 1e-12))
    activity = [levels[:, start:start + length].mean(axis=1).min() for start in range(whole - length + 1)]
    return float(np.argmax(activity))


def height_of(frequency: float) -> float:
    """Where a frequency in Hz stands in a picture: 0 at its lower edge, 1 at the upper."""
    return float(np.log(frequency / LOWEST) / np.log(HIGHEST / LOWEST))


def _audio(sound: np.ndarray, rate: int) -> str:
    """MP3, which every browser plays and which is a tenth of the size of WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sound[:, :2], -1, 1), rate, format="MP3")
    return _data_uri(buffer, "audio/mpeg")


def _power(sound: np.ndarray, rate: int) -> np.ndarray:
    """Power in logarithmically spaced bands over time, shape [rows, frames], the highest band first. Bands over half
    the rate hold none."""
    mono = np.pad(sound.mean(axis=1), (0, max(0, _FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(mono, _FRAME)[::_HOP] * np.hanning(_FRAME).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)).T ** 2
    wanted = np.round(np.geomspace(HIGHEST, LOWEST, _ROWS) * _FRAME / rate).astype(int)
    return np.where((wanted < len(power))[:, None], power[np.minimum(wanted, len(power) - 1)], 0.)


def _picture(power: np.ndarray, loudest: float) -> str:
    """A PNG with a palette; `loudest` is the power of its brightest colour."""
    level = 10 * np.log10(np.maximum(power / max(loudest, 1e-12), 1e-12))
    shades = np.round(255 * np.clip(1 + level / RANGE, 0, 1)).astype(np.uint8)
    image = Image.fromarray(shades)    # of grey levels, which become those of the palette
    image.putpalette((matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return _data_uri(buffer, "image/png")


def _data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
