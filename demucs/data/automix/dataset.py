"""A dataset of remixes: OUT/{train,valid}/MIX/{mixture,drums,bass,other,vocals}.wav, with the record of how it was
made.

Analyses and remixes are made in processes; what they make depends on the songs, the settings and the seed, never on the
number of processes. Interrupted at any moment and called again, `make` makes what is missing.
"""

import collections
import logging
import multiprocessing
import os
import shutil
import time
import typing as tp
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ... import files, schema
from ...audio import soundstretch
from ...errors import ConfigError, DatasetError
from ...ranges import SEED, Range
from ...schema import SOURCES, AutomixAnalysis, AutomixRecord, AutomixSong
from ...tables import counted
from ..faults import FaultyTracks
from . import analysis, matching, rendering
from .matching import LEAD, Limits
from .songs import SPLITS, Song, digest, find
from .tonality import key_name

logger = logging.getLogger(__name__)

VERSION = 1                     # to be raised whenever the same songs and settings give other samples
RECORD = "automix.json"         # in the root of the dataset, as is the next
RECIPE = "automix_recipe.json"
CACHE = "analysis"              # folder of analyses
JOBS = Range(1, 1024, whole=True)
Result = tp.TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """Remixes to be made, with the songs and their analyses by title."""
    record: AutomixRecord
    songs: tp.List[Song]
    analyses: tp.Dict[str, AutomixAnalysis]


def make(musdb: tp.Union[str, Path, None], out: tp.Union[str, Path], *, wavs: tp.Sequence[tp.Union[str, Path]] = (),
         with_test: bool = False, sources: tp.Sequence[str] = SOURCES, mixes: int = 6, seed: int = 42,
         limits: Limits = Limits(), jobs: int = 1) -> AutomixRecord:
    """Make a dataset of remixes in `out`, for `dset.wav`. Returns its record, which is also in OUT/automix.json.

    Args:
        musdb: folder of MUSDB18-HQ.
        wavs: folders of further datasets, with train/ and perhaps valid/.
        with_test: remix the test songs of MUSDB18-HQ, too, among the training songs.
        mixes: number of remixes for each song as their anchor.
        limits: largest changes of tempo and pitch.
        jobs: number of processes.

    Raises:
        ConfigError: for an invalid number, or an output folder within a dataset.
        DatasetError: if songs cannot be used, no remix is possible, or `out` has other content.
        ToolError: if librosa or soundstretch is missing.
    """
    out = Path(out)
    planned = plan(musdb, out, wavs=wavs, with_test=with_test, sources=sources, mixes=mixes, seed=seed, limits=limits,
                   jobs=jobs)
    for split in SPLITS:
        if not any(mix.split == split for mix in planned.record.mixes):
            raise DatasetError(f"no remix is possible among the songs of the split {split!r} "
                               f"({summary(planned.record, split)}); add songs, or allow larger changes with "
                               f"--max-tempo and --max-pitch")
    _render(planned, out, sources, jobs)
    schema.save(planned.record, out / RECORD)
    return planned.record


def plan(musdb: tp.Union[str, Path, None], out: Path, *, wavs: tp.Sequence[tp.Union[str, Path]], with_test: bool,
         sources: tp.Sequence[str], mixes: int, seed: int, limits: Limits, jobs: int) -> Plan:
    """Analyse all songs and draw the remixes; see `make`."""
    for name, value, allowed in (("seed", seed, SEED), ("mixes", mixes, matching.MIXES), ("jobs", jobs, JOBS),
                                 ("max_tempo", limits.tempo, matching.TEMPO),
                                 ("max_pitch", limits.pitch, matching.PITCH)):
        allowed.check(name, value)
    for root in (*([musdb] if musdb else []), *wavs):
        if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(root)):
            raise ConfigError(f"--out {out} lies within the dataset {root}, whose songs are read; choose a folder "
                              f"outside")
    program, version = soundstretch.find(), analysis.require_librosa()
    songs = find(musdb, wavs, sources, with_test=with_test)
    settings = {"generator": "demucs.data.automix", "version": VERSION, "seed": seed, "mixes": mixes,
                "sources": list(sources), "max_tempo": float(limits.tempo), "max_pitch": limits.pitch,
                "songs": digest(songs), "librosa": version, "soundstretch": ".".join(map(str, program.version))}
    _claim(out, settings)
    analyses = _analyse(songs, sources, out / CACHE, version, jobs)
    drawn, missing = matching.draw_mixes(songs, analyses, sources, mixes=mixes, seed=seed, limits=limits)
    record = AutomixRecord(settings=settings, lead=LEAD, songs=[_told(song, analyses[song.title]) for song in songs],
                           pairs=matching.count_pairs(songs, analyses, limits), mixes=drawn, missing=missing)
    return Plan(record, songs, analyses)


def _claim(out: Path, settings: tp.Dict[str, tp.Any]) -> None:
    """Write the recipe to `out`, or check that it is the existing one, and remove what an interruption left."""
    recipe = out / RECIPE
    if recipe.exists():
        try:
            found = schema.read_json(recipe)
        except schema.SchemaError as error:
            raise DatasetError(f"{error}; remove {out} and make the dataset anew") from error
        if found != settings:
            differ = sorted(key for key in {*settings, *(found if isinstance(found, dict) else ())}
                            if not isinstance(found, dict) or found.get(key) != settings.get(key))
            raise DatasetError(f"{out} holds remixes of another recipe (different: {', '.join(differ)}); choose "
                               f"another folder with --out, or remove it")
    elif any((out / split).exists() for split in SPLITS):
        raise DatasetError(f"{out} holds a dataset that was not made by automix (no {RECIPE}); choose another folder "
                           f"with --out")
    else:
        schema.write_json(settings, recipe)
    for split in SPLITS:
        (out / split).mkdir(parents=True, exist_ok=True)
        for left in (out / split).glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)


def _told(song: Song, found: AutomixAnalysis) -> AutomixSong:
    return AutomixSong(title=song.title, split=song.split, dataset=song.dataset,
                       seconds=found.frames / found.samplerate, tempo=found.tempo, first_beat=found.first_beat,
                       key=key_name(found.signature),
                       tuning=found.tuning, doubt=found.doubt)


def _analyse(songs: tp.Sequence[Song], sources: tp.Sequence[str], cache: Path, version: str, jobs: int
             ) -> tp.Dict[str, AutomixAnalysis]:
    """Analyses of all songs by title. Raises FaultyTracks naming all songs that cannot be read."""
    calls = [(song, tuple(sources), cache, version) for song in songs]
    found: tp.Dict[str, AutomixAnalysis] = {}
    faults: tp.Dict[str, str] = {}
    for done, place, result in _in_processes(_try_analysis, calls, jobs):
        song = songs[place]
        if isinstance(result, str):
            faults[song.title] = result
            logger.info("song %s: %s: cannot be used", done, song.title)
            continue
        found[song.title] = result
        logger.info("song %s: %s: %s", done, song.title, result.doubt and f"not used, {result.doubt}" or
                    f"{result.tempo:.1f} beats per minute, first beat at {result.first_beat:.2f} s, "
                    f"{key_name(result.signature)}")
    if faults:
        raise FaultyTracks(faults[title] for title in sorted(faults))
    return found


def _try_analysis(song: Song, sources: tp.Sequence[str], cache: Path, version: str) -> tp.Union[AutomixAnalysis, str]:
    try:
        return analysis.analyse(song, sources, cache, version)
    except DatasetError as error:
        return str(error)


def _render(planned: Plan, out: Path, sources: tp.Sequence[str], jobs: int) -> None:
    record, program = planned.record, soundstretch.find()
    tracks = {song.title: song.track for song in planned.songs}
    left = [mix for mix in record.mixes if not (out / mix.split / mix.name).is_dir()]
    if len(left) < len(record.mixes):
        logger.info("complete already: %s", remixes(len(record.mixes) - len(left)))
    rates = {mix.name: planned.analyses[mix.anchor].samplerate for mix in left}
    needed = sum(round(mix.seconds * rates[mix.name]) * rendering.CHANNELS * 2 * (len(sources) + 1) for mix in left)
    free = files.free_bytes(out)
    if needed > free:
        raise DatasetError(f"{out}: the remixes need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; free some "
                           f"space, choose another folder with --out, or make fewer with --mixes")
    calls = [(mix, {part.song: tracks[part.song] for part in mix.parts}, out / mix.split / mix.name, tuple(sources),
              rates[mix.name], program) for mix in left]
    for done, place, _ in _in_processes(_render_one, calls, jobs):
        mix = left[place]
        logger.info("remix %s: %s/%s, %.0f s from %s", done, mix.split, mix.name, mix.seconds,
                    counted(len({part.song for part in mix.parts}), "song"))


def _render_one(mix: schema.AutomixMix, tracks: tp.Mapping[str, tp.Any], folder: Path, sources: tp.Sequence[str],
                rate: int, program: soundstretch.Soundstretch) -> None:
    if not folder.is_dir():             # an interrupted call's process may have ended meanwhile
        rendering.render(mix, tracks, folder, sources=sources, samplerate=rate, soundstretch=program)


def _single_thread() -> None:
    import torch
    torch.set_num_threads(1)


def _in_processes(function: tp.Callable[..., Result], calls: tp.Sequence[tuple], jobs: int
                  ) -> tp.Iterator[tp.Tuple[str, int, Result]]:
    """(progress, number of the call, result) of each call, in order of completion; in this process for one job."""
    begin = time.monotonic()

    def progress(done: int) -> str:
        spent = time.monotonic() - begin
        return f"{done}/{len(calls)}, {spent:.0f} s, {spent / done * (len(calls) - done):.0f} s left"
    jobs = min(jobs, len(calls))
    if jobs <= 1:
        for place, call in enumerate(calls):
            result = function(*call)
            yield progress(place + 1), place, result
        return
    # spawn, since a forked child of a process that has used torch's thread pool may hang
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_single_thread) as pool:
        try:
            pending = {pool.submit(function, *call): place for place, call in enumerate(calls)}
            for done, future in enumerate(as_completed(pending), start=1):
                yield progress(done), pending[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def unused(record: AutomixRecord) -> tp.Dict[str, int]:
    """Numbers of songs that are not used, by reason."""
    return dict(collections.Counter(song.doubt for song in record.songs if song.doubt))


def remixes(count: int) -> str:
    return f"{count} {'remix' if count == 1 else 'remixes'}"


def summary(record: AutomixRecord, split: str) -> str:
    """Sentence about the pairs of a split: how many there are, how many agree, and why the others do not."""
    pairs = next((pairs for pairs in record.pairs if pairs.split == split), None)
    if pairs is None:
        return "no songs"
    reasons = "".join(f", {number} do not: {reason}" for reason, number in pairs.refused.items())
    return f"{counted(pairs.pairs, 'pair')} of songs: {pairs.accepted} agree{reasons}"
