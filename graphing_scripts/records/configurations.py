"""Configurations: groups of runs that differ only in their seed, which are a sample of one configuration's results."""

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
    """Runs of one configuration with different seeds, in the order given; one run if there is no other seed."""
    runs: tp.Tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name of the first run, with the number of seeds if there are several."""
        first = self.runs[0].name
        return first if len(self.runs) == 1 else f"{first} ({seeds_text(len(self.runs))})"

    @property
    def evaluations(self) -> tp.List[Evaluation]:
        """Evaluations of the runs that have one, in their order."""
        return [run.evaluation for run in self.runs if run.evaluation is not None]

    @property
    def average(self) -> Evaluation:
        """Evaluation of the configuration: the mean over seeds of each song's scores, under the name of the
        configuration. With a single evaluated run it is the evaluation of that run itself."""
        found = self.evaluations
        return found[0] if len(found) == 1 else averaged(found, self.name)


def configurations(runs: tp.Sequence[Run]) -> tp.List[Configuration]:
    """`runs` grouped by configuration, in the order of their first runs.

    Two runs are of one configuration if the settings in their run cards differ only in the seed and, once scored, their
    test songs are the same. A run without a run card is a configuration of its own, and so is a further run with the
    same seed.
    """
    groups: tp.Dict[str, tp.List[Run]] = {}
    for place, run in enumerate(runs):
        key = _key(run) or f"run {place}"
        if run.card is not None and any(other.card is not None and other.card.seed == run.card.seed
                                        for other in groups.get(key, ())):
            key = f"run {place}"      # a second run with the same seed is not another sample
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
    """Paired comparison `other` minus `base` over songs and seeds. `options` and errors are those of
    `seeds.compare_over_seeds`."""
    return compare_over_seeds(other.evaluations, base.evaluations, family, names=(other.name, base.name), **options)


def spread(configuration: Configuration, family: Family) -> tp.Dict[str, SeedSpread]:
    """Spread over seeds of a configuration, per source and, if there are several, for the mean over sources ("all"); {}
    if fewer than two seeds were scored, or on different songs."""
    try:
        found = seed_spread(configuration.evaluations, family)
    except DatasetError:
        return {}
    if len(found) == 2:        # one source: the mean over sources is the same number
        found.pop(ALL, None)
    return found
