"""Configurations: runs that differ in their seed alone are one configuration, and a sample of what it gives."""

import json
import typing as tp
from dataclasses import dataclass

from demucs.errors import DatasetError
from demucs.metrics.aggregates import ALL, Family
from demucs.metrics.seeds import averaged, compare_over_seeds
from demucs.metrics.statistics import Comparison, SeedSpread, seed_spread, seeds_text
from demucs.schema import Evaluation

from .readers import Run

SEED = "seed"


@dataclass(frozen=True)
class Configuration:
    """The seeds of one configuration, in the order in which they were named; a run without another seed is one of one."""
    runs: tp.Tuple[Run, ...]

    @property
    def name(self) -> str:
        """That of the first run, and how many seeds there are."""
        first = self.runs[0].name
        return first if len(self.runs) == 1 else f"{first} ({seeds_text(len(self.runs))})"

    @property
    def evaluations(self) -> tp.List[Evaluation]:
        return [run.evaluation for run in self.runs if run.evaluation is not None]

    @property
    def average(self) -> Evaluation:
        """Scores of each song in the mean over seeds, under the name of the configuration."""
        found = self.evaluations
        return found[0] if len(found) == 1 else averaged(found, self.name)


def configurations(runs: tp.Sequence[Run]) -> tp.List[Configuration]:
    """`runs` by configuration, in their order. Run cards tell it: two belong together where their settings differ in the
    seed alone, and where both were scored, it was on the same songs. A run without a card stands alone."""
    groups: tp.Dict[str, tp.List[Run]] = {}
    for place, run in enumerate(runs):
        key = _key(run) or f"run {place}"
        if run.card is not None and any(other.card is not None and other.card.seed == run.card.seed
                                        for other in groups.get(key, ())):
            key = f"run {place}"      # the same seed again is no further sample
        groups.setdefault(key, []).append(run)
    return [Configuration(tuple(group)) for group in groups.values()]


def _key(run: Run) -> str:
    card, made = run.card, run.evaluation
    if card is None:
        return ""
    settings = card.delta if card.delta is not None else \
        {key.lstrip("+"): value for key, _, value in (item.partition("=") for item in card.argv)}
    of_songs = [made.dataset, made.sources, sorted(track.name for track in made.tracks)] if made is not None else None
    return json.dumps([card.model, card.model_settings, card.sources, card.epochs, card.batch_size, card.train_tracks,
                       sorted((key, str(value)) for key, value in settings.items() if key != SEED), of_songs])


def compared(other: Configuration, base: Configuration, family: Family, **options: tp.Any) -> Comparison:
    """`other` minus `base`, over songs and, where there are several, seeds. Options and errors as `compare_over_seeds`."""
    return compare_over_seeds(other.evaluations, base.evaluations, family, names=(other.name, base.name), **options)


def spread(configuration: Configuration, family: Family) -> tp.Dict[str, SeedSpread]:
    """Per source and over sources; {} where there are fewer than two seeds with scores, or they are of different songs."""
    try:
        found = seed_spread(configuration.evaluations, family)
    except DatasetError:
        return {}
    if len(found) == 2:        # the mean over one source says nothing more
        found.pop(ALL, None)
    return found
