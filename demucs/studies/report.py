"""Results of a study as text, for a terminal and for a page."""

import textwrap
import typing as tp
from pathlib import Path

import numpy as np

from .. import schema
from ..errors import ConfigError
from ..files import write_text
from ..metrics.aggregates import ALL, EVERY_FAMILY, aggregate
from ..metrics.statistics import seeds_text
from ..metrics.verdicts import HELPED, INCONCLUSIVE
from ..schema import Evaluation, StudyComparison, StudyResult, StudyTraining
from ..tables import aligned, counted, duration, interval_text, markdown, number, true_minus

BEGIN, END = "<!-- written by tools.study: begin -->\n", "<!-- written by tools.study: end -->\n"
WIDTH = 120
UNEVEN = 0.1        # relative difference of mean steps between arms that a note mentions
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
    head = ["arm", "nSDR (dB)", "standard deviation", "above the filter", "steps", "ms per step", "examples"]
    rows = []
    for arm, values in found.items():
        mine = trainings_of(result, arm)
        steps = [training.steps for training in mine]
        pace = [1000 * training.seconds / training.steps for training in mine]
        rows.append([arm, number(float(np.mean(values))),
                     number(float(np.std(values, ddof=1))) if len(values) > 1 else "-",
                     f"{number(above[arm].difference, plus=True)} [{interval_text(above[arm].low, above[arm].high)}]",
                     f"{np.mean(steps):.0f} ({min(steps)} to {max(steps)})", f"{np.mean(pace):.0f}",
                     str(mine[0].examples)])
    reference = schema.load(Evaluation, folder / result.reference)
    overall = aggregate(reference, EVERY_FAMILY[result.family]).values[ALL]
    rows.append(["fixed filter", number(overall), *[""] * (len(head) - 2)])
    return head, rows


def trainings_of(result: StudyResult, arm: str) -> tp.List[StudyTraining]:
    return [training for training in result.trainings if training.arm == arm]


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


def notes(result: StudyResult) -> tp.List[str]:
    """Limits of the study, one sentence or more each."""
    arms = {arm: trainings_of(result, arm) for arm in result.arms}
    steps = {arm: float(np.mean([training.steps for training in mine])) for arm, mine in arms.items()}
    found = [f"Every arm was trained with {seeds_text(len(result.seeds))} ({', '.join(map(str, result.seeds))}), "
             f"{duration(result.seconds, fine=True)} each, on {result.machine}, {counted(result.threads, 'thread')}. "
             f"Passes over the training set are counted, validation, saving and start-up are not. The weights at the "
             f"end are scored."]
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
    found.append(f"Intervals are about other songs like these ({result.dataset}) and other seeds. Each holds alone: they "
                 f"are not corrected for {counted(len(result.comparisons), 'comparison')}, of which the first is the "
                 f"question.")
    return found


def text(result: StudyResult, folder: Path) -> str:
    """The report for a terminal."""
    arms, pairs = arm_rows(result, folder), comparison_rows(result)
    return "\n".join([
        f"Study {result.name}, {result.created[:10]}: {result.question}", "", answer(result), "",
        *aligned(*arms), "", *aligned(*pairs, left=(0, 3)), "",
        *(sentence(item) for item in result.comparisons[1:]), "", *notes(result)])


def page_text(result: StudyResult, folder: Path) -> str:
    """The report in Markdown, as it stands between the marks of a page."""
    def filled(line: str) -> str:
        return textwrap.fill(true_minus(line), WIDTH, break_long_words=False, break_on_hyphens=False)
    (head, rows), (names, pairs) = arm_rows(result, folder), comparison_rows(result)
    return "\n" + "\n\n".join([
        filled(f"Study `{result.name}`, {result.created[:10]}, torch {result.versions.get('torch', '?')}. "
               f"{result.question}"),
        filled(f"**{answer(result)}**"), true_minus(markdown(head, rows, "lrrrrrr")),
        true_minus(markdown(names, pairs, "lrrl")), *(filled(sentence(item)) for item in result.comparisons[1:]),
        "\n".join(textwrap.fill(true_minus(f"- {note}"), WIDTH, subsequent_indent="  ", break_long_words=False,
                                break_on_hyphens=False) for note in notes(result))]) + "\n\n"


def write_page(result: StudyResult, folder: Path, page: Path) -> None:
    """Replace the text between the marks in `page`. Raises ConfigError if they are missing."""
    content = page.read_text(encoding="utf-8")
    if content.count(BEGIN) != 1 or content.count(END) != 1 or content.index(BEGIN) > content.index(END):
        raise ConfigError(f"{page}: has no place for the results; it needs the lines {BEGIN.strip()} and {END.strip()}")
    before, after = content[:content.index(BEGIN)], content[content.index(END):]
    write_text(page, f"{before}{BEGIN}{page_text(result, folder)}{after}")
