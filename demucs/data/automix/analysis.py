"""Analysis of a song: rhythm, key, and levels by bar, cached per song."""

import hashlib
import math
import os
import typing as tp
from pathlib import Path

import numpy as np

from ... import schema
from ...errors import AudioError, DatasetError, ToolError
from ...schema import AutomixAnalysis
from . import rhythm, tonality
from .songs import Song, stamp

UNPITCHED = ("drums", "percussion")     # sources that fit any key
BASS, VOICE = "bass", "vocals"
BASS_WEIGHT = 0.5       # in the key: a bass plays few notes
SILENT = -60.           # dB of full scale: below that, a bar of a stem counts as silent
FLOOR = -120.           # dB, the lowest level that is recorded
SHORTEST = 15.          # seconds: shorter songs have too few bars to tell them apart


def require_librosa() -> str:
    """Version of librosa. Raises ToolError if it is not installed."""
    try:
        import librosa
    except ImportError as error:
        raise ToolError(f"librosa, which finds tempo, beats and keys for automix, cannot be imported ({error}); "
                        f"install it with `pip install -c constraints.txt -e '.[automix]'`, or run `make setup`"
                        ) from error
    return str(librosa.__version__)


def analyse(song: Song, sources: tp.Sequence[str], cache: Path, version: str) -> AutomixAnalysis:
    """Analysis of a song, from the folder `cache` if its files have not changed. `version` is that of librosa.

    Raises DatasetError naming the file that cannot be used.
    """
    key = f"{os.path.realpath(song.track.folder)}\n{song.track.name}"
    path = cache / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}.json"
    now = [f"librosa {version}", f"sources {' '.join(sources)}", *stamp(song, times=True)]
    try:
        found = schema.load(AutomixAnalysis, path)
        if found.stamp == now:
            return found
    except schema.SchemaError:
        pass                    # absent, damaged, or of another version: made again
    made = _analysed(song, sources, now)
    schema.save(made, path)
    return made


def _analysed(song: Song, sources: tp.Sequence[str], stamps: tp.List[str]) -> AutomixAnalysis:
    from threadpoolctl import threadpool_limits
    stems, rate, length = _signals(song, sources)
    seconds = length / rate
    # One thread, so that sums have the same order, and the results the same bits, on every machine with this processor.
    with threadpool_limits(1):
        found, key = _described(stems, seconds)
    levels = {source: _levels(stem, found) for source, stem in stems.items()}
    mixture = np.sum(list(stems.values()), axis=0)
    return AutomixAnalysis(
        stamp=stamps, samplerate=rate, frames=length, tempo=found.tempo, first_beat=found.first_beat,
        signature=key.signature, tuning=key.tuning, level=_decibels(mixture), levels=levels,
        pulse=found.pulse, rival=found.rival, margin=found.margin, wander=found.wander, key_margin=key.margin,
        doubt="; ".join(filter(None, (found.doubt, key.doubt))))


def _signals(song: Song, sources: tp.Sequence[str]) -> tp.Tuple[tp.Dict[str, np.ndarray], int, int]:
    """(mono stems at the rate of the analysis, sample rate, number of samples)."""
    import librosa
    stems, form = {}, {}
    for source in sources:
        try:
            wav, rate = song.track.load(source)
        except (AudioError, ToolError, OSError) as error:
            raise DatasetError(f"track {song.title}: {error}") from error
        form[source] = (rate, wav.shape[-1])
        mono = wav.mean(dim=0).numpy()
        if not np.isfinite(mono).all():
            raise DatasetError(f"track {song.title}: {source} in {song.track.folder} has samples that are not finite "
                               f"numbers (NaN or infinity); render the file again")
        stems[source] = librosa.resample(mono, orig_sr=rate, target_sr=rhythm.SAMPLERATE, res_type="soxr_hq")
    if len(set(form.values())) > 1:
        told = ", ".join(f"{source} {length} samples at {rate} Hz" for source, (rate, length) in form.items())
        raise DatasetError(f"track {song.title}: {song.track.folder} has stems of different length or rate ({told}); "
                           f"all files of a track must have the same")
    rate, length = next(iter(form.values()))
    return stems, rate, length


def _described(stems: tp.Mapping[str, np.ndarray], seconds: float) -> tp.Tuple[rhythm.Rhythm, tonality.Tonality]:
    if seconds < SHORTEST:
        return (rhythm.Rhythm(rhythm.SLOWEST, 0., doubt=f"shorter than {SHORTEST:g} s"), tonality.Tonality(0, 0., 0.))
    heard = {source: stem for source, stem in stems.items() if _decibels(stem) > SILENT}
    pitched = [source for source in heard if source not in UNPITCHED]
    if not pitched:
        return rhythm.Rhythm(rhythm.SLOWEST, 0., doubt="no pitched stems"), tonality.Tonality(0, 0., 0.)
    energy, tuning = tonality.pitch_classes([(heard[source], BASS_WEIGHT if source == BASS else 1.)
                                             for source in pitched])
    accompaniment = [heard[source] for source in pitched if source not in (BASS, VOICE)]
    drums = [heard[source] for source in heard if source in UNPITCHED]
    other = np.sum(accompaniment, axis=0) if accompaniment else None
    harmonies = {name: tonality.harmony(stem, tuning, low=name == BASS) for name, stem in (
        (BASS, heard.get(BASS)), ("other", other), (VOICE, heard.get(VOICE))) if stem is not None}
    found = rhythm.estimate(np.sum(drums, axis=0) if drums else None, heard.get(BASS), other, harmonies)
    return found, tonality.estimate(energy, tuning)


def _levels(stem: np.ndarray, found: rhythm.Rhythm) -> tp.List[float]:
    """Level in dB of each whole bar of a mono stem."""
    edges = np.arange(max(0., found.first_beat), len(stem) / rhythm.SAMPLERATE, found.bar) * rhythm.SAMPLERATE
    return [_decibels(stem[int(start):int(stop)]) for start, stop in zip(edges, edges[1:])]


def _decibels(signal: np.ndarray) -> float:
    power = float(np.mean(signal.astype(np.float64) ** 2)) if len(signal) else 0.
    return round(10 * math.log10(max(power, 10 ** (FLOOR / 10))), 2)
