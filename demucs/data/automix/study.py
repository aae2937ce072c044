"""Agreement of remixes with the truth, on generated songs whose tempo, first beat and key are known.

Generated songs begin on a bar line. So that the first beat has to be found, each of these is cut at a random place
within its first two bars.
"""

import itertools
import logging
import math
import multiprocessing
import typing as tp
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ... import schema
from ...audio.soundstretch import Soundstretch
from ...audio.writing import write_samples
from ...dsp.randomness import generator
from ...schema import AutomixAnalysis, AutomixMix, AutomixRecord
from ..synthetic.dataset import render_song, song_plan
from ..synthetic.plan import SAMPLERATE, SongPlan
from . import matching, rendering
from .analysis import UNPITCHED
from .matching import LEAD, Change, Limits

logger = logging.getLogger(__name__)

TRUTH = "truth.json"
RELATIVE = {"major": 0, "minor": 3, "dorian": 10, "mixolydian": 5}     # semitones from the tonic to the relative major
TEMPO_ERROR = 0.01      # largest relative error of tempo of stems that agree
BEAT_ERROR = 0.03       # seconds, the same of first beats
CLICK = 0.02            # seconds


@dataclass(frozen=True)
class Truth:
    """What is known of a song: beats per minute, seconds to its first bar line, key signature (0 is C major)."""
    tempo: float
    first_beat: float
    signature: int

    @property
    def bar(self) -> float:
        return 240 / self.tempo


def truth_of(plan: SongPlan, cut: int) -> Truth:
    """What is known of a generated song without its first `cut` samples."""
    bar = 240 / plan.tempo
    return Truth(plan.tempo, -cut / SAMPLERATE % bar, (plan.key + RELATIVE[plan.mode]) % 12)


def write_songs(root: Path, *, train: int, valid: int, seconds: float, seed: int, processes: int = 1) -> None:
    """Write root/{train,valid}/SONG/*.wav, generated songs of `seconds` whose beginning was cut off, and
    root/truth.json."""
    logger.info("making %d songs in %s", train + valid, root)
    calls = [(root, split, index, seconds, seed) for split, count in (("train", train), ("valid", valid))
             for index in range(count)]
    if processes == 1:
        found = [_write_song(*call) for call in calls]
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_write_song, *zip(*calls)))
    schema.write_json({name: [truth.tempo, truth.first_beat, truth.signature] for name, truth in found}, root / TRUTH)


def _write_song(root: Path, split: str, index: int, seconds: float, seed: int) -> tp.Tuple[str, Truth]:
    name, kind = f"{split} song {index + 1:03d}", "train" if split == "train" else "test"
    # The tempo of a plan does not depend on the length.
    cut = round(float(generator(seed, f"automix study {split}", index).uniform(0, 2))
                * 240 / song_plan(seed, kind, index, seconds).tempo * SAMPLERATE)
    whole = seconds + cut / SAMPLERATE
    folder = root / split / name
    folder.mkdir(parents=True, exist_ok=True)
    for source, wav in render_song(seed, kind, index, whole).items():
        write_samples(folder / f"{source}.wav", wav[:, cut:].T, SAMPLERATE, subtype="PCM_16", form="WAV")
    return name, truth_of(song_plan(seed, kind, index, whole), cut)


def read_truth(root: Path) -> tp.Dict[str, Truth]:
    return {name: Truth(*values) for name, values in schema.read_json(root / TRUTH).items()}


@dataclass(frozen=True)
class PairCounts:
    """Numbers of pairs of songs of the same split: all, those that the truth calls compatible, those of these that were
    accepted, and accepted ones that the truth does not call compatible."""
    pairs: int
    compatible: int
    found: int
    wrong: int


def compare_pairs(songs: tp.Mapping[str, tp.Tuple[str, AutomixAnalysis]], truths: tp.Mapping[str, Truth], limits: Limits
                  ) -> PairCounts:
    """Decisions about all pairs beside the truth. `songs`: split and analysis by title."""
    pairs = compatible = found = wrong = 0
    for (first, (split, one)), (second, (other_split, other)) in itertools.combinations(songs.items(), 2):
        if split != other_split:
            continue
        pairs += 1
        accepted = isinstance(matching.change(one, other, limits), Change)
        a, b = truths[first], truths[second]
        key = abs((a.signature - b.signature + 6) % 12 - 6)
        fits = abs(math.log(a.tempo / b.tempo)) <= math.log1p(limits.tempo / 100) and key <= limits.pitch
        compatible += fits
        found += fits and accepted
        wrong += accepted and not fits
    return PairCounts(pairs, compatible, found, wrong)


@dataclass(frozen=True)
class MixErrors:
    """Largest difference between the stems of a remix by the truth: of tempo (relative), of their bar lines at the
    beginning and at the end (seconds), and whether the key signatures of the pitched ones are equal."""
    tempo: float
    begin: float
    end: float
    same_key: bool

    @property
    def agrees(self) -> bool:
        return self.tempo <= TEMPO_ERROR and self.begin <= BEAT_ERROR and self.same_key


def compare_mix(mix: AutomixMix, truths: tp.Mapping[str, Truth]) -> MixErrors:
    """A remix beside the truth about its songs, if soundstretch does exactly as it is told."""
    tempos, begins, ends, keys = [], [], [], set()
    for part in mix.parts:
        truth, ratio = truths[part.song], 1 + part.tempo_change / 100
        tempos.append(truth.tempo * ratio)
        end = part.start + mix.bars * 240 / mix.tempo * ratio
        begins.append(distance_to_bar_line(part.start, truth) / ratio)
        ends.append(distance_to_bar_line(end, truth) / ratio)
        if part.source not in UNPITCHED:
            keys.add((truth.signature + part.key_change) % 12)
    return MixErrors(max(tempos) / min(tempos) - 1, max(begins) - min(begins), max(ends) - min(ends), len(keys) <= 1)


def distance_to_bar_line(seconds: float, truth: Truth) -> float:
    """Seconds from a place in a song to its nearest bar line."""
    bars = (seconds - truth.first_beat) / truth.bar
    return (round(bars) - bars) * truth.bar


class _Clicks:
    """In place of a track: a click on every bar line, and soft noise."""

    def __init__(self, name: str, truth: Truth, seconds: float):
        self.name = name
        rng = generator(0, "automix clicks")
        wav = 0.005 * rng.standard_normal((2, round(seconds * SAMPLERATE)))
        time = np.arange(round(CLICK * SAMPLERATE)) / SAMPLERATE
        click = 0.8 * np.sin(2 * np.pi * 300 * time) * np.exp(-time / 0.005)
        for line in np.arange(truth.first_beat, seconds - CLICK, truth.bar):
            start = round(line * SAMPLERATE)
            wav[:, start:start + len(click)] += click[:wav.shape[1] - start]
        self.wav = torch.from_numpy(wav.astype(np.float32))

    def load(self, source: str, start: int = 0, frames: tp.Optional[int] = None) -> tp.Tuple[torch.Tensor, int]:
        return self.wav[:, start:None if frames is None else start + frames], SAMPLERATE


def rendered_spread(mix: AutomixMix, record: AutomixRecord, truths: tp.Mapping[str, Truth], program: Soundstretch
                    ) -> float:
    """Largest difference in seconds between the first beats of the stems of a rendered remix: the median over its bars,
    of clicks on the true bar lines that were changed as the stems are."""
    seconds = {song.title: song.seconds for song in record.songs}
    frames, places = round(mix.seconds * SAMPLERATE), []
    for part in mix.parts:
        clicks = _Clicks(part.song, truths[part.song], seconds[part.song])
        wav = np.abs(rendering.render_stem(part, clicks, frames, SAMPLERATE, program)[0]) / 10 ** (part.gain / 20)
        places.append([_onset(wav, LEAD + bar * 240 / mix.tempo) for bar in range(mix.bars)])
    return float(np.nanmedian(np.ptp(places, axis=0)))


def _onset(wav: np.ndarray, expected: float) -> float:
    """Seconds from `expected` to the click that is nearest, NaN without one within an eighth of a second."""
    start = max(0, round((expected - 0.125) * SAMPLERATE))
    near = wav[start:start + round(0.25 * SAMPLERATE)]
    if not len(near) or near.max() < 0.2:
        return math.nan
    return float(start + np.argmax(near > 0.5 * near.max())) / SAMPLERATE - expected
