"""Remixes of `tools.automix` to listen to: players with the waveform, and over it the grid of beats."""

import io
import typing as tp
from pathlib import Path

import numpy as np
from PIL import Image

from demucs.audio.samples import read_samples
from demucs.errors import AudioError
from demucs.schema import AutomixMix, AutomixPart, AutomixRecord
from demucs.tables import counted, number

from .elements import escape, facts, folded, paragraph, section, table
from .excerpts import MIXTURE, audio_uri, data_uri

WIDTH, HEIGHT = 480, 112        # pixels of a waveform
THICK = {2: 1, 3: 2}            # pixels, of lines of beats and of bars
BEATS = 4                       # of a bar
# Background, waveform, lines of beats, lines of bars; the same in both themes, as spectrograms are.
COLOURS = (16, 18, 24, 96, 170, 220, 150, 135, 80, 255, 205, 70)


def chosen(record: AutomixRecord, count: int) -> tp.List[AutomixMix]:
    """At most `count` remixes, spread evenly over all."""
    places = np.unique(np.linspace(0, len(record.mixes) - 1, min(count, len(record.mixes))).astype(int))
    return [record.mixes[place] for place in places]


def waveform(sound: np.ndarray, rate: int, lines: tp.Sequence[float]) -> np.ndarray:
    """Picture [HEIGHT, WIDTH] of `sound` [L, A] as indices of COLOURS. `lines` are the beats in seconds; every fourth,
    the first among them, begins a bar."""
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    edges = np.linspace(0, len(sound), WIDTH + 1).astype(int)
    peak = max(float(np.abs(sound).max()), 1e-9)
    middle = (HEIGHT - 1) / 2
    for column, (start, stop) in enumerate(zip(edges, np.maximum(edges[1:], edges[:-1] + 1))):
        low, high = float(sound[start:stop].min()) / peak, float(sound[start:stop].max()) / peak
        picture[round(middle * (1 - high)):round(middle * (1 - low)) + 1, column] = 1
    for beat, line in enumerate(lines):
        column = int(line * rate / len(sound) * WIDTH)
        if 0 <= column < WIDTH:
            kind = 3 if beat % BEATS == 0 else 2
            picture[:, column:column + THICK[kind]] = kind
    return picture


def picture_uri(picture: np.ndarray) -> str:
    """Data URI of a picture of `waveform` as a PNG."""
    image = Image.fromarray(picture)
    image.putpalette(bytes(COLOURS))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer, "image/png")


def origin(part: AutomixPart, mix: AutomixMix) -> str:
    """Text about a stem: its song, and how it was changed."""
    if part.song == mix.anchor and not part.tempo_change and not part.pitch_shift:
        return f"{part.song}, unchanged"
    changes = [f"tempo {number(part.tempo_change, 1, plus=True)} %"]
    changes += [f"pitch {number(part.pitch_shift, 1, plus=True)} semitones"] if part.pitch_shift else []
    return f"{part.song}, {', '.join(changes)}"


def players(root: Path, mix: AutomixMix, lead: float, seconds: float) -> str:
    """HTML with players for the first `seconds` of a remix: the mixture, then its stems.

    Raises AudioError naming the file that cannot be read.
    """
    beat = 60 / mix.tempo
    figures = []
    for name in (MIXTURE, *(part.source for part in mix.parts)):
        sound, rate = read_samples(root / mix.split / mix.name / f"{name}.wav", dtype="float32")
        sound = sound[:round(seconds * rate)]
        if not len(sound):
            raise AudioError(f"{root / mix.split / mix.name / name}.wav: holds no sound; make the remixes again")
        part = next((part for part in mix.parts if part.source == name), None)
        told = f"{name}: {origin(part, mix)}" if part else f"{name} of all"
        lines = np.arange(lead, len(sound) / rate, beat)
        figures.append(_figure(name, told, picture_uri(waveform(sound, rate, lines)), audio_uri(sound, rate)))
    return (f"<h3>{escape(mix.name)}</h3>" + paragraph(f"{mix.tempo:.1f} beats per minute, {mix.key}, {mix.bars} "
                                                       f"bars, as in {mix.anchor}.", "quiet")
            + f'<div class="listen"><div class="clips one">{figures[0]}</div>'
              f'<div class="clips">{"".join(figures[1:])}</div></div>')


def _figure(name: str, told: str, picture: str, audio: str) -> str:
    """HTML of one player: data URIs of its waveform and of its sound, below the text `told`."""
    return (f'<figure><figcaption>{escape(told)}</figcaption><div class="spectrum">'
            f'<img alt="Waveform of {escape(name)} with its beats" src="{picture}"><i></i></div>'
            f'<audio controls preload="metadata" aria-label="{escape(told)}" src="{audio}"></audio></figure>')


def about(record: AutomixRecord) -> str:
    """HTML of the numbers of remixes and pairs, songs, and settings."""
    pairs = [[each.split, sum(mix.split == each.split for mix in record.mixes), each.pairs, each.accepted,
              "; ".join(f"{count}: {reason}" for reason, count in each.refused.items())] for each in record.pairs]
    rows: tp.List[tp.Sequence[tp.Union[str, float]]] = [
        [song.title, song.split, song.tempo, song.first_beat, song.key, song.doubt or "used"] for song in record.songs]
    return (section("Pairs of songs", table(["split", "remixes", "pairs", "agree", "do not agree"], [
        [str(cell) for cell in row] for row in pairs], caption="Pairs of songs that agree in tempo and key"))
        + section("Songs", folded(counted(len(record.songs), "song"), table(
            ["song", "split", "beats per minute", "first beat (s)", "key", "use"], rows, caption="Songs as analysed",
            sortable=True)))
        + section("Settings", facts((key, str(value)) for key, value in record.settings.items())))
