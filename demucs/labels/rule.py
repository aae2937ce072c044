"""Choice of the songs of a pseudo-labelled dataset by measures of their labels without references."""

import typing as tp
from dataclasses import dataclass, field

from ..dsp.randomness import generator
from ..errors import ConfigError, did_you_mean
from ..metrics.quality.measures import EVERY_MEASURE
from ..metrics.quality.ranking import ranking
from ..schema import JudgedSong, QualityScores, QualityTrack, SongLabels
from .labelling import mean_over


@dataclass(frozen=True)
class Rule:
    """Rule by which labelled songs are kept.

    Songs are ordered by their mean rank over `measures` and stems (`metrics.quality.ranking`). Those whose mean over
    stems is on the wrong side of a threshold are refused, and of the others the best are kept, at most the share `keep`
    of all labelled songs, rounded to the nearest number.

    Attributes:
        keep: share of all labelled songs, from 0 to 1.
        thresholds: worst allowed mean over stems by measure, in dB.
        random: seed of the control: as many songs as the rule keeps, drawn from all labelled songs; None for the rule.
        valid: number of the kept songs that are in valid/ instead of train/, drawn at random.
        seed: of that draw.
    """
    measures: tp.Tuple[str, ...]
    keep: float = 1.
    thresholds: tp.Mapping[str, float] = field(default_factory=dict)
    random: tp.Optional[int] = None
    valid: int = 1
    seed: int = 0

    def __str__(self) -> str:
        bounds = [f"{key} {'at least' if EVERY_MEASURE[key].better > 0 else 'at most'} {value:g} dB"
                  for key, value in self.thresholds.items()]
        rule = f"the best {self.keep:.4g} of all labelled songs by the mean rank in {', '.join(self.measures)}"
        if bounds:
            rule += f", of those with {' and '.join(bounds)} in the mean over stems"
        if self.random is not None:
            return f"control: as many songs at random (seed {self.random}) as this rule keeps: {rule}"
        return rule


def thresholds_of(texts: tp.Iterable[str], measures: tp.Sequence[str]) -> tp.Dict[str, float]:
    """Thresholds from the texts "MEASURE=VALUE", or "VALUE" for the first of `measures`.

    Raises:
        ConfigError: for another text, or a measure that is not one of `measures`.
    """
    found = {}
    for text in texts:
        key, equals, value = text.rpartition("=")
        key = key if equals else measures[0]
        if key not in measures:
            raise ConfigError(f"--threshold {text}: {key!r} is none of the measures of this call, which are "
                              f"{', '.join(measures)}.{did_you_mean(key, measures)} --measure chooses others")
        try:
            found[key] = float(value)
        except ValueError:
            found[key] = float("nan")
        if not abs(found[key]) <= 1000:
            raise ConfigError(f"--threshold {text}: must be a number of decibels from -1000 to 1000")
    return found


def judged(songs: tp.Sequence[SongLabels], rule: Rule, stems: tp.Sequence[str]) -> tp.List[JudgedSong]:
    """Decision on each of `songs`, by the measures of `stems`, in the order of `songs`."""
    scores = QualityScores(
        name="", sources=list(stems), measures={key: EVERY_MEASURE[key].label for key in rule.measures},
        tracks=[QualityTrack(song.name, song.seconds, song.values) for song in songs], settings={}, commit="",
        versions={}, created="")
    order = ranking(scores, rule.measures)
    places = {place.name: place.value for place in order}
    by_name = {song.name: song for song in songs}
    reasons = {name: _fault(by_name[name], rule, stems, places[name]) for name in places}
    most = int(rule.keep * len(songs) + 0.5)
    good = [place.name for place in order if not reasons[place.name]]
    kept = set(good[:most])
    reasons.update({name: f"not among the best {most} of {len(songs)} songs" for name in good[most:]})
    if rule.random is not None:
        names = sorted(by_name)
        drawn = generator(rule.random, "control of pseudo-labels").permutation(len(names))[:len(kept)]
        kept = {names[index] for index in drawn}
        reasons = dict.fromkeys(names, "not drawn")
    ordered = sorted(kept)
    chance = generator(rule.seed, "validation songs of pseudo-labels").permutation(len(ordered))
    valid = {ordered[index] for index in chance[:rule.valid]}
    return [JudgedSong(
        name=song.name, file=song.file, split="valid" if song.name in valid else "train" if song.name in kept else "",
        reason="" if song.name in kept else reasons[song.name], place=places[song.name], values=song.values,
        residual=song.residual, fingerprint=song.fingerprint) for song in songs]


def _fault(song: SongLabels, rule: Rule, stems: tp.Sequence[str], place: tp.Optional[float]) -> str:
    if place is None:
        return "no measure is defined: is it silent?"
    for key, bound in rule.thresholds.items():
        mean = mean_over(song, key, stems)
        if mean is None:
            return f"{key} is undefined"
        if (mean - bound) * EVERY_MEASURE[key].better < 0:
            return f"{key} is {mean:.2f} dB in the mean over stems, the threshold is {bound:g} dB"
    return ""
