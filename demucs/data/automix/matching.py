"""Which songs agree, and the remixes of their stems.

Two songs agree if the tempo of one can be changed to that of the other, and its pitch by whole semitones to the same
key signature, both within limits. Unpitched stems (drums) need no key. A remix has the tempo, key and tuning of one
song, its anchor, and one of its stems at least; its other stems come from different songs that agree with the anchor.
"""

import collections
import itertools
import math
import typing as tp
import zlib
from dataclasses import dataclass

import numpy as np

from ...dsp.randomness import generator
from ...ranges import Range
from ...schema import AutomixAnalysis, AutomixMix, AutomixPairs, AutomixPart
from .analysis import SILENT, UNPITCHED
from .songs import Song
from .tonality import key_name

TEMPO = Range(0, 50, unit="percent")
PITCH = Range(0, 6, whole=True, unit="semitones")
MIXES = Range(1, 1000, whole=True)
SHORTEST = 12.          # seconds of a remix, more than the 11 s of `dset.segment`
LEAD = 0.1              # seconds before the first beat, so that its attack is complete
TUNED = 0.15            # semitones: larger differences of tuning are corrected
ACTIVE = 0.5            # share of the bars in which every stem of a remix plays
ATTEMPTS = 20           # draws for a remix that has not been drawn before

Analyses = tp.Mapping[str, AutomixAnalysis]     # by title of the song
IN_DOUBT = "a song is in doubt"


@dataclass(frozen=True)
class Limits:
    """Largest changes of a stem: tempo in percent (that much faster, or slower by the same ratio), pitch in
    semitones."""
    tempo: float = 12.
    pitch: int = 2


class Change(tp.NamedTuple):
    """Change of a stem: tempo in percent, pitch in semitones, of which `key` is the whole number that changes the
    key."""
    tempo: float
    pitch: float
    key: int


def change(anchor: AutomixAnalysis, other: AutomixAnalysis, limits: Limits, *, pitched: bool = True
           ) -> tp.Union[Change, str]:
    """Change that makes a stem of `other` agree with `anchor`, or the reason why there is none."""
    if anchor.doubt or other.doubt:
        return IN_DOUBT
    ratio = anchor.tempo / other.tempo
    if abs(math.log(ratio)) > math.log1p(limits.tempo / 100):
        return "the tempos are too far apart"
    tempo = round(100 * (ratio - 1), 6)
    if not pitched:
        return Change(tempo, 0., 0)
    key = (anchor.signature - other.signature + 6) % 12 - 6
    if abs(key) > limits.pitch:
        return "the keys are too far apart"
    tuning = anchor.tuning - other.tuning
    return Change(tempo, round(key + (tuning if abs(tuning) > TUNED else 0.), 2), key)


def count_pairs(songs: tp.Sequence[Song], analyses: Analyses, limits: Limits) -> tp.List[AutomixPairs]:
    """Numbers of pairs of songs that agree, and of those that do not, by reason, for each split."""
    counts = []
    for split in dict.fromkeys(song.split for song in songs):
        found = [analyses[song.title] for song in songs if song.split == split]
        reasons: tp.Counter[str] = collections.Counter()
        for first, second in itertools.combinations(found, 2):
            result = change(first, second, limits)
            reasons[result if isinstance(result, str) else ""] += 1
        accepted = reasons.pop("", 0)
        counts.append(AutomixPairs(split=split, pairs=math.comb(len(found), 2), accepted=accepted,
                                   refused=dict(sorted(reasons.items()))))
    return counts


def draw_mixes(songs: tp.Sequence[Song], analyses: Analyses, sources: tp.Sequence[str], *, mixes: int, seed: int,
               limits: Limits) -> tp.Tuple[tp.List[AutomixMix], tp.Dict[str, int]]:
    """(remixes, number of remixes that could not be drawn by reason): up to `mixes` for each song as their anchor.

    A draw depends on the seed, the anchor, and the songs that agree with it.
    """
    drawn: tp.List[AutomixMix] = []
    missing: tp.Counter[str] = collections.Counter()
    for number, anchor in enumerate(songs):
        if analyses[anchor.title].doubt:
            missing[IN_DOUBT] += mixes
            continue
        seen: tp.Set[tp.Tuple[str, ...]] = set()
        key = (zlib.crc32(anchor.track.name.encode(errors="surrogateescape")), anchor.dataset)
        for mix in range(mixes):
            reason = ""
            for attempt in range(ATTEMPTS):
                rng = generator(seed, f"automix {anchor.split}", *key, mix, attempt)
                chosen = _choose(anchor, songs, analyses, sources, limits, rng)
                titles = tuple(chosen[source].title for source in sources)
                if set(titles) == {anchor.title}:
                    reason = "no other song agrees"
                    continue
                if titles in seen:
                    reason = "all combinations are made"
                    continue
                name = f"{number + 1:04d}-{mix + 1:02d} {shortened(anchor.title)}"
                made = _place(name, anchor, {source: chosen[source] for source in sources}, analyses, limits, rng)
                if isinstance(made, str):
                    reason = made
                    continue
                seen.add(titles)
                drawn.append(made)
                reason = ""
                break
            if reason:
                missing[reason] += 1
    return drawn, dict(sorted(missing.items()))


def shortened(title: str) -> str:
    """A title that leaves room for more in the name of a file, of at most 150 bytes."""
    return title.encode(errors="surrogateescape")[:150].decode(errors="ignore").strip(" .") or "song"


def _choose(anchor: Song, songs: tp.Sequence[Song], analyses: Analyses, sources: tp.Sequence[str], limits: Limits,
            rng: np.random.Generator) -> tp.Dict[str, Song]:
    """A song for each source. One source, at random, is the anchor's, and those for which no other song agrees."""
    order = [sources[place] for place in rng.permutation(len(sources))]
    chosen, used = {order[0]: anchor}, {anchor.title}
    for source in order[1:]:
        fitting = [song for song in songs if song.split == anchor.split and song.title not in used and _plays(
            analyses[song.title], source) and not isinstance(change(
                analyses[anchor.title], analyses[song.title], limits, pitched=source not in UNPITCHED), str)]
        chosen[source] = fitting[int(rng.integers(len(fitting)))] if fitting else anchor
        used.add(chosen[source].title)
    return chosen


def _plays(analysis: AutomixAnalysis, source: str) -> bool:
    levels = analysis.levels[source]
    return sum(level > SILENT for level in levels) >= ACTIVE * len(levels)


def _place(name: str, anchor: Song, chosen: tp.Mapping[str, Song], analyses: Analyses, limits: Limits,
           rng: np.random.Generator) -> tp.Union[AutomixMix, str]:
    """The remix with the passage of each song, or the reason why there is none. As long as the shortest of the
    songs."""
    base = analyses[anchor.title]
    bars = min(len(analyses[song.title].levels[source]) for source, song in chosen.items())
    seconds = LEAD + bars * 240 / base.tempo
    if seconds < SHORTEST:
        return "the songs are too short"
    starts: tp.Dict[str, int] = {}
    for title in dict.fromkeys(song.title for song in chosen.values()):
        levels = np.array([analyses[title].levels[source] for source, song in chosen.items() if song.title == title])
        active = np.lib.stride_tricks.sliding_window_view(levels > SILENT, bars, axis=1).mean(axis=2) >= ACTIVE
        possible = np.flatnonzero(active.all(axis=0))
        if not len(possible):
            return "a stem is silent"
        starts[title] = int(rng.choice(possible))
    parts = []
    for source, song in chosen.items():
        other = analyses[song.title]
        made = Change(0., 0., 0) if song is anchor else change(base, other, limits, pitched=source not in UNPITCHED)
        assert isinstance(made, Change)
        parts.append(AutomixPart(source=source, song=song.title, tempo_change=made.tempo, pitch_shift=made.pitch,
                                 key_change=made.key, start=other.first_beat + starts[song.title] * 240 / other.tempo,
                                 gain=round(base.level - other.level, 2)))
    return AutomixMix(name=name, split=anchor.split, anchor=anchor.title, tempo=base.tempo,
                      key=key_name(base.signature), seconds=seconds, bars=bars, parts=parts)
