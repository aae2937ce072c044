"""Tables and sentences about the results of a study, for a terminal, a page and a report.

Only numpy and scipy are needed: the graphing scripts use this module without torch.
"""

import typing as tp
from pathlib import Path

import numpy as np

from .. import schema
from ..schema import Evaluation, StudyComparison, StudyResult, StudyTraining
from ..tables import counted, duration, interval_text, number
from .aggregates import ALL, EVERY_FAMILY, aggregate
from .statistics import FEWEST, seeds_text
from .verdicts import HELPED, INCONCLUSIVE

UNEVEN = 0.1        # relative difference of mean steps between arms, and of speeds, that a note mentions
LATE = 0.02         # relative difference between the time that a training was given and the one that it took


def scores(result: StudyResult, folder: Path) -> tp.Dict[str, tp.List[float]]:
    """Mean over sources of the nSDR (in the family of the study) of every training, by arm, in the order of seeds."""
    family = EVERY_FAMILY[result.family]
    found: tp.Dict[str, tp.List[float]] = {arm: [] for arm in result.arms}
    for training in result.trainings:
        value = aggregate(schema.load(Evaluation, folder / training.evaluation), family).values[ALL]
        found[training.arm].append(float("nan") if value is None else value)
    return found


def arm_rows(result: StudyResult, folder: Path) -> tp.Tuple[tp.List[str], tp.List[tp.List[str]]]:
    """(head, rows) of the table of arms: score, spread over seeds, difference to the filter, steps and time."""
    found = scores(result, folder)
    above = {item.first: item for item in result.above_filter}
    head = ["arm", "nSDR (dB)", "standard deviation", "above the filter", "steps", "ms per step", "examples",
            *(f"nSDR on {test_set}" for test_set in result.also_scored)]
    rows = []
    for arm, values in found.items():
        mine = trainings_of(result, arm)
        steps = [training.steps for training in mine]
        pace = [1000 * training.seconds / training.steps for training in mine]
        rows.append([arm, number(float(np.mean(values))),
                     number(float(np.std(values, ddof=1))) if len(values) > 1 else "-",
                     f"{number(above[arm].difference, plus=True)} [{interval_text(above[arm].low, above[arm].high)}]",
                     f"{np.mean(steps):.0f} ({min(steps)} to {max(steps)})", f"{np.mean(pace):.0f}",
                     str(mine[0].examples),
                     *(_on(result, folder, [training.also_scored.get(test_set, "") for training in mine])
                       for test_set in result.also_scored)])
    further = [_on(result, folder, [file]) for file in result.also_scored.values()]
    empty = len(head) - 2 - len(further)
    rows.append(["fixed filter", number(_overall(result, folder / result.reference)), *[""] * empty, *further])
    return head, rows


def _overall(result: StudyResult, path: Path) -> tp.Optional[float]:
    """Mean over sources of the scores in a file, in the family of the study."""
    return aggregate(schema.load(Evaluation, path), EVERY_FAMILY[result.family]).values[ALL]


def _on(result: StudyResult, folder: Path, files: tp.Sequence[str]) -> str:
    """Scores on a further test set as text: the mean over seeds, with the smallest and the largest if there are
    several."""
    values = [value for value in (_overall(result, folder / file) for file in files if file) if value is not None]
    if not values:
        return number(None)
    several = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return f"{number(float(np.mean(values)))}{several}"


def trainings_of(result: StudyResult, arm: str) -> tp.List[StudyTraining]:
    return [training for training in result.trainings if training.arm == arm]


def machines(result: StudyResult) -> tp.List[str]:
    """Machines on which the trainings ran, each once."""
    return list(dict.fromkeys(training.machine for training in result.trainings))


def comparison_rows(result: StudyResult) -> tp.Tuple[tp.List[str], tp.List[tp.List[str]]]:
    """(head, rows) of the table of comparisons, the question first."""
    return ["first minus second", "difference (dB)", "95 % interval", "verdict on the first"], [
        [f"{item.first} minus {item.second}", number(item.difference, plus=True), interval_text(item.low, item.high),
         item.verdict] for item in result.comparisons]


def answer(result: StudyResult) -> str:
    """The answer to the question of the study: the verdict on its first comparison, with the reason."""
    return sentence(result.comparisons[0])


def sentence(item: StudyComparison) -> str:
    """A comparison as a sentence."""
    verdict = {INCONCLUSIVE: f"{item.first} against {item.second} is inconclusive"}.get(
        item.verdict, f"{item.first} against {item.second}: {item.verdict}")
    return f"{verdict} ({number(item.difference, plus=True)} dB; {item.reason})."


def notes(result: StudyResult, folder: Path) -> tp.List[str]:
    """Limits of the study with its records in `folder`, one sentence or more each."""
    arms = {arm: trainings_of(result, arm) for arm in result.arms}
    steps = {arm: float(np.mean([training.steps for training in mine])) for arm, mine in arms.items()}
    found = [f"Every arm was trained with {seeds_text(len(result.seeds))} ({', '.join(map(str, result.seeds))}), "
             f"{duration(result.seconds, fine=True)} each, on {' and on '.join(machines(result))}. Passes over the "
             f"training set are counted, validation, saving and start-up are not. The weights at the end are scored."]
    if len(machines(result)) > 1:
        found.append("The trainings ran on different machines or with different numbers of threads: equal times are "
                     "not equal amounts of computation.")
    if max(steps.values()) > (1 + UNEVEN) * min(steps.values()):
        fast, slow = max(steps, key=steps.__getitem__), min(steps, key=steps.__getitem__)
        found.append(f"In equal time, arms made different numbers of steps: {fast} {steps[fast]:.0f}, {slow} "
                     f"{steps[slow]:.0f} in the mean.")
    paces = {arm: [training.seconds / training.steps for training in mine] for arm, mine in arms.items()}
    uneven = {arm: max(pace) / min(pace) for arm, pace in paces.items()}
    worst = max(uneven, key=uneven.__getitem__)
    if uneven[worst] > 1 + UNEVEN:
        found.append(f"The speed of the machine was not constant: the slowest training of {worst} took "
                     f"{uneven[worst]:.2f} times as long per step as the fastest.")
    late = [training for training in result.trainings if training.seconds > (1 + LATE) * training.limit]
    if late:
        found.append(f"{len(late)} of {len(result.trainings)} trainings took more than {LATE:.0%} above their time, "
                     f"since a step takes long.")
    again = [f"{training.arm}, seed {training.seed}" for training in result.trainings if training.sessions > 1]
    if again:
        found.append(f"Interrupted and continued: {'; '.join(again)}.")
    weak = [item.first for item in result.above_filter if item.verdict != HELPED]
    if weak:
        found.append(f"Not shown to exceed a fixed filter per source: {', '.join(weak)}. Such an arm may have learned "
                     f"average spectra only; train it longer.")
    for test_set, file in result.also_scored.items():
        songs = len(schema.load(Evaluation, folder / file).tracks)
        found.append(f"Scores on {test_set} ({counted(songs, 'song')}) are means over seeds, with the lowest and the "
                     f"highest. They are in no comparison"
                     + ("." if songs >= FEWEST else ", since intervals need more songs."))
    found.append(f"Intervals are about other songs like these ({result.dataset}) and other seeds. Each holds alone: "
                 f"they are not corrected for {counted(len(result.comparisons), 'comparison')}, of which the first is "
                 f"the question.")
    return found
