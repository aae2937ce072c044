"""Studies of arms (`tools.study`): search of a study, and its scores."""

import typing as tp
from dataclasses import dataclass
from pathlib import Path

from demucs import schema
from demucs.errors import SignatureError
from demucs.metrics.aggregates import EVERY_FAMILY, Family
from demucs.metrics.seeds import averaged, compare_over_seeds
from demucs.metrics.statistics import Comparison, SeedSpread, seed_spread
from demucs.runs.layout import STUDY
from demucs.schema import Evaluation, StudyResult

STUDIES = "studies"


@dataclass(frozen=True)
class ArmStudy:
    """A study with the evaluations of its arms, one per seed, and that of the fixed filter. `folder` has its record."""
    result: StudyResult
    folder: Path
    scored: tp.Dict[str, tp.List[Evaluation]]
    reference: Evaluation

    @property
    def family(self) -> Family:
        return EVERY_FAMILY[self.result.family]

    def average(self, arm: str) -> Evaluation:
        """Evaluation with the mean over seeds of each song's scores."""
        return averaged(self.scored[arm], arm)

    def spreads(self) -> tp.Dict[str, tp.Dict[str, SeedSpread]]:
        """Spread over seeds of every arm by source; empty with one seed."""
        if len(self.result.seeds) < 2:
            return {}
        return {arm: seed_spread(several, self.family) for arm, several in self.scored.items()}

    def against(self, base: str) -> tp.List[Comparison]:
        """Comparisons of the study whose second arm is `base`."""
        return [compare_over_seeds(self.scored[item.first], self.scored[base], self.family, names=(item.first, base))
                for item in self.result.comparisons if item.second == base]

    def above_filter(self) -> tp.List[Comparison]:
        """Every arm minus the fixed filter."""
        return [compare_over_seeds(several, [self.reference], self.family, names=(arm, "fixed filter"), fixed=True)
                for arm, several in self.scored.items()]


def find(argument: tp.Optional[str], results: Path) -> ArmStudy:
    """Study named by `argument`: a file, a folder, or a name in `results`/studies; None for the newest.

    Raises:
        SignatureError: if there is no such study.
        SchemaError: if a file is not a record of a study.
    """
    there = sorted((results / STUDIES).glob(f"*/{STUDY}"), key=lambda path: path.stat().st_mtime)
    places = [there[-1]] if argument is None and there else []
    if argument is not None:
        places = [Path(argument), Path(argument) / STUDY, results / STUDIES / argument / STUDY]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise SignatureError(f"no study {argument or ''} in {results / STUDIES}; there are: "
                             f"{', '.join(path.parent.name for path in there) or 'none'}. `python -m tools.study` "
                             f"makes one")
    result = schema.load(StudyResult, found)

    def scores(file: str) -> Evaluation:
        return schema.load(Evaluation, found.parent / Path(file).name)
    scored = {arm: [scores(training.evaluation) for training in result.trainings if training.arm == arm]
              for arm in result.arms}
    return ArmStudy(result, found.parent, scored, scores(result.reference))
