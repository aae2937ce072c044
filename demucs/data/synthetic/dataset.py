"""Synthetic dataset in the layout of MUSDB18-HQ, for the demo and the tests: songs whose stems are known exactly.

A song is a plan (tempo, key, chords, levels) that is rendered by four synthesisers, one module each in this package. A
track is a function of (seed, split, index) and its length, independent of the number of tracks and processes. Stems are
quantised first and the mixture is their integer sum, so it is exact on disk.
"""

import logging
import math
import multiprocessing
import os
import shutil
import typing as tp
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from ...audio.writing import write_samples
from ...dsp.randomness import generator
from ...errors import ConfigError, DatasetError
from ...ranges import SEED, Range
from ...schema import SOURCES, SchemaError, read_json, write_json
from ..musdb import VALIDATION_TRACKS
from .plan import SAMPLERATE, SongPlan, draw_plan

logger = logging.getLogger(__name__)

VERSION = 1                     # to be raised whenever the same recipe gives other samples
MANIFEST = "synthetic.json"     # the recipe, in the root of the dataset
SPLITS = ("train", "test")
SHORTEST, LONGEST = 1., 7200.   # seconds
PROCESSES = Range(1, 1024, whole=True)
WORTHWHILE = 60.                # seconds of songs per process; for fewer, it is not worth starting one


def song_plan(seed: int, split: str, index: int, seconds: float) -> SongPlan:
    """Plan of song number `index` of a split, `seconds` long, which its stems share. Equal arguments give equal
    plans."""
    return draw_plan(generator(seed, f"synthetic {split} plan", index), seconds)


def render_song(seed: int, split: str, index: int, seconds: float) -> tp.Dict[str, np.ndarray]:
    """Stems of song number `index` of a split, `seconds` long, and their mixture, as they are stored: {name: int16 [2,
    L]}, at 44.1 kHz. Equal arguments give equal samples.

    The level is chosen so that neither a stem nor the mixture clips; the mixture is the sum of the stems exactly.
    """
    # Importing their filters takes a second, and every training imports this module for MANIFEST.
    from .accompaniment import render_accompaniment
    from .bass import render_bass
    from .drums import render_drums
    from .voice import render_voice
    render = {"drums": render_drums, "bass": render_bass, "other": render_accompaniment, "vocals": render_voice}
    plan = song_plan(seed, split, index, seconds)
    stems = {}
    for source in SOURCES:
        stem = render[source](plan, generator(seed, f"synthetic {split} {source}", index))
        rms = math.sqrt(float(np.mean(stem.astype(np.float64) ** 2)))
        stems[source] = stem * (10 ** (plan.levels[source] / 20) / rms)
    peak = max(float(np.abs(x).max()) for x in (*stems.values(), sum(stems.values())))
    loudness = float(generator(seed, f"synthetic {split} mastering", index).uniform(0.6, 0.95))
    stored = {source: np.rint(stem * (loudness * 32767 / peak)).astype(np.int16) for source, stem in stems.items()}
    # four rounding errors change the sum by two steps at most, much less than the 5 % of headroom that `loudness`
    # leaves
    return {"mixture": np.sum(list(stored.values()), axis=0, dtype=np.int16), **stored}


def track_names(train: int, test: int, valid: int) -> tp.Dict[str, tp.List[str]]:
    """Names of the tracks of each split, {"train": [...], "test": [...]}, in the order of their index. The first
    `valid` training tracks have names of MUSDB's validation split, so that they are used for validation."""
    names = {split: [f"Synthetic {who} {n + 1:03d} - Song {n + 1:03d}" for n in range(count)]
             for split, who, count in (("train", "Artist", train), ("test", "Guest", test))}
    names["train"][:valid] = VALIDATION_TRACKS[:valid]
    return names


def _write_song(folder: Path, seed: int, split: str, index: int, seconds: float) -> None:
    """Write the folder of one track atomically."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, wav in render_song(seed, split, index, seconds).items():
        write_samples(partial / f"{name}.wav", wav.T, SAMPLERATE, subtype="PCM_16", form="WAV")
    partial.rename(folder)


def generate(root: tp.Union[str, Path], *, train: int = 24, test: int = 6, seconds: float = 20., seed: int = 1,
             valid: tp.Optional[int] = None, processes: tp.Optional[int] = None) -> Path:
    """Make ROOT/{train,test}/TRACK/{mixture,drums,bass,other,vocals}.wav: 44.1 kHz, stereo, 16 bits.

    Called again with the same recipe, it renders missing tracks only. Returns `root`.

    Args:
        root: folder to write to; created if missing.
        train, test: number of tracks of each split.
        seconds: length of every track, 1 to 7200.
        seed: random seed of all songs.
        valid: number of training tracks with names of the official validation split (at most 14); by default a sixth of
            the training tracks, at least one if there are any.
        processes: by default one per core, fewer for a small dataset.

    Raises:
        ConfigError: for an invalid number.
        DatasetError: if ROOT has a dataset of another recipe, or one that is not synthetic.
    """
    root = Path(root)
    if valid is None:
        valid = min(len(VALIDATION_TRACKS), max(1, train // 6), train)
    if train < 0 or test < 0 or train + test == 0:
        raise ConfigError(f"{train} training and {test} test tracks make no dataset; ask for at least one track")
    if not 0 <= valid <= min(train, len(VALIDATION_TRACKS)):
        raise ConfigError(f"valid={valid}: of {train} training tracks, 0 to {min(train, len(VALIDATION_TRACKS))} can "
                          f"have names of the validation split")
    if not SHORTEST <= seconds <= LONGEST:
        raise ConfigError(f"seconds={seconds}: a song needs at least {SHORTEST:g} s, and at most {LONGEST:g} s")
    SEED.check("seed", seed)
    if processes is not None:
        PROCESSES.check("processes", processes)
    recipe = {"generator": "demucs.data.synthetic", "version": VERSION, "seed": seed, "train": train, "test": test,
              "valid": valid, "seconds": float(seconds)}
    _claim(root, recipe)
    names = track_names(train, test, valid)
    jobs = [(root / split / name, seed, split, index, float(seconds))
            for split in SPLITS for index, name in enumerate(names[split])]
    missing = [job for job in jobs if not job[0].is_dir()]
    if missing:
        cores = len(os.sched_getaffinity(0))
        _run(missing, processes or max(1, min(cores, int(len(missing) * seconds / WORTHWHILE))))
    logger.info("synthetic dataset in %s: %d training tracks (%d of them for validation), %d test tracks, %.0f s each",
                root, train, valid, test, seconds)
    return root


def _claim(root: Path, recipe: tp.Dict[str, tp.Any]) -> None:
    """Write the recipe to `root`, or check that it is the existing one."""
    manifest = root / MANIFEST
    if manifest.exists():
        try:
            found = read_json(manifest)
        except SchemaError as error:
            raise DatasetError(f"{error}; remove {root} and generate the dataset anew") from error
        if found != recipe:
            raise DatasetError(f"{root} holds a synthetic dataset of another recipe: {found}, wanted {recipe}; choose "
                               f"another folder or remove it")
    elif any((root / split).exists() for split in SPLITS):
        raise DatasetError(f"{root} holds a dataset that is not synthetic (no {MANIFEST}); choose another folder")
    else:
        write_json(recipe, manifest)


def _run(jobs: tp.Sequence[tuple], processes: int) -> None:
    """Write songs, in this process if one is enough, with progress in the log."""
    done = 0

    def report(folder: Path) -> None:
        nonlocal done
        done += 1
        logger.info("synthetic song %d/%d: %s/%s", done, len(jobs), folder.parent.name, folder.name)

    processes = min(processes, len(jobs))
    if processes == 1:
        for job in jobs:
            _write_song(*job)
            report(job[0])
        return
    # spawn, since a forked child of a process that has used torch's thread pool may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(_write_song, *job): job[0] for job in jobs}
        for future in as_completed(futures):
            future.result()
            report(futures[future])
