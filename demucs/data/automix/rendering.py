"""Rendering of a remix: passages of stems, changed in tempo and pitch by soundstretch, as a folder of wav files."""

import os
import secrets
import shutil
import typing as tp
from pathlib import Path

import numpy as np

from ...audio.soundstretch import Soundstretch
from ...audio.writing import write_samples
from ...dsp.convert import convert_channels, resample
from ...errors import AudioError, DatasetError, ToolError
from ...schema import AutomixMix, AutomixPart
from ..tracks import MIXTURE, Track
from .analysis import VOICE
from .matching import LEAD

CHANNELS = 2
MARGIN = 0.5        # seconds read before and after a passage, so that soundstretch has begun when it begins
FADE = 0.01         # seconds
PEAK = 0.98         # largest sample; louder remixes are scaled as a whole


def render(mix: AutomixMix, tracks: tp.Mapping[str, Track], folder: Path, *, sources: tp.Sequence[str], samplerate: int,
           soundstretch: Soundstretch) -> None:
    """Write `folder`, with a wav file (16 bits) for each of `sources` and for their mixture, which is their exact sum.

    The folder gets its name when it is complete. `tracks` are by title of the song.

    Raises:
        DatasetError: naming the file that cannot be read.
        ToolError: if soundstretch fails.
    """
    frames = round(mix.seconds * samplerate)
    parts = {part.source: part for part in mix.parts}
    stems = {source: render_stem(parts[source], tracks[parts[source].song], frames, samplerate, soundstretch)
             for source in sources}
    peak = max(float(np.abs(wav).max()) for wav in (*stems.values(), sum(stems.values())))
    scale = 32767 * min(1., PEAK / max(peak, 1e-9))
    stored = {source: np.rint(wav * scale).astype(np.int16) for source, wav in stems.items()}
    # Rounding changes the sum by half a step per stem, much less than PEAK leaves.
    stored[MIXTURE] = np.sum(list(stored.values()), axis=0, dtype=np.int32).astype(np.int16)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        for name, wav in stored.items():
            write_samples(partial / f"{name}.wav", wav.T, samplerate, subtype="PCM_16", form="WAV")
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def render_stem(part: AutomixPart, track: Track, frames: int, samplerate: int, soundstretch: Soundstretch
                ) -> np.ndarray:
    """Changed passage of a stem, float64 [CHANNELS, frames]."""
    ratio = 1 + part.tempo_change / 100         # seconds of the song per second of the remix
    begin = part.start - LEAD * ratio           # seconds in the song at which the remix begins
    try:
        _, rate = track.load(part.source, 0, 1)
        start = max(0, round((begin - MARGIN) * rate))
        length = round((begin + frames / samplerate * ratio + MARGIN) * rate) - start
        wav, _ = track.load(part.source, start, length)
    except (AudioError, ToolError, OSError) as error:
        raise DatasetError(f"track {track.name}: {error}; the remixes that are complete are kept") from error
    wav = resample(convert_channels(wav, CHANNELS), rate, samplerate).contiguous()
    if part.tempo_change or part.pitch_shift:
        wav = soundstretch.stretch(wav, samplerate, pitch=part.pitch_shift, tempo=part.tempo_change,
                                   voice=part.source == VOICE)
    samples = wav.numpy().astype(np.float64)
    skipped = round((begin - start / rate) / ratio * samplerate)        # negative: the remix begins before the song
    stem = np.zeros((CHANNELS, frames))
    taken = samples[:, max(0, skipped):max(0, skipped + frames)]
    first = max(0, -skipped)
    taken = taken[:, :frames - first]
    stem[:, first:first + taken.shape[1]] = taken
    fade = np.minimum(1, np.arange(frames) / (FADE * samplerate))
    return stem * fade * fade[::-1] * 10 ** (part.gain / 20)
