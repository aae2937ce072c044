"""Results on the instrumental as tables and sentences: what their numbers show, and what they do not."""

import re
import textwrap
import typing as tp
from pathlib import Path

from ..errors import ConfigError
from ..files import write_text
from ..schema import Evaluation, InstrumentalDifference, InstrumentalReport, InstrumentalScores
from ..tables import aligned, counted, interval_text, markdown, number, p_text, true_minus
from .aggregates import EVERY_FAMILY, NSDR_MEAN
from .instrumental import EASY, Split, split
from .statistics import BETTER, UNCLEAR

DIGITS = 3              # of the notes
HEAD = ("", "mean", "median", "std", "mean", "median", "mean", "median", "frames", "dropped", f"{EASY:g} dB or more")
BEGIN = "<!-- written by tools.evaluate_instrumental: begin -->\n"
END = "<!-- written by tools.evaluate_instrumental: end -->\n"
WIDTH = 120
GROUPS = ("SDR of all frames (pooled)", "SDR, track medians", "nSDR of tracks")


def table(results: tp.Sequence[InstrumentalScores]) -> tp.List[str]:
    """Lines of a table with a row for each result. Columns are the mean, median and population standard deviation over
    all frames, mean and median over tracks of their median frames, and mean and median over tracks of nSDR."""
    head, *lines = aligned(HEAD, map(row, results), least=(0, 8))
    ends = [match.end() for match in re.finditer(r"\S+", head)]
    groups = ""
    for title, end in zip(GROUPS, (ends[2], ends[4], ends[6])):      # over the last of its columns
        groups = groups.ljust(max(len(groups) + 2, end - len(title))) + title
    return [groups, head, *lines]


def row(each: InstrumentalScores) -> tp.List[str]:
    """Cells of a result in the table."""
    numbers = (each.mean, each.median, each.std, each.mean_of_medians, each.median_of_medians, each.nsdr_mean,
               each.nsdr_median)
    return [each.name, *(number(value, DIGITS) for value in numbers), str(each.frames),
            str(each.undefined + each.infinite), f"{each.easy:.0%}"]


def difference_line(item: InstrumentalDifference) -> str:
    """Line of text about a paired difference."""
    family = EVERY_FAMILY[item.family]
    test = "" if item.p_value is None else f", signed-rank p {p_text(item.p_value, '= ')}"
    return (f"{item.first} minus {item.second}, {family.short}: {number(item.value, DIGITS, plus=True)} dB, standard "
            f"error {number(item.error, DIGITS)}, 95 % interval {interval_text(item.low, item.high)}, better on "
            f"{item.won} of {item.tracks} songs, worse on {item.lost}{test}: {item.verdict}")


def split_lines(evaluations: tp.Sequence[Evaluation]) -> tp.List[str]:
    """Lines of tables, one for each evaluation but the last, with the means of all later ones over the frames where it
    has `EASY` dB or more, and over all others."""
    lines = []
    for place, reference in enumerate(evaluations[:-1]):
        rows, share = [], 0.
        for each in evaluations[place + 1:]:
            found = split(each, reference)
            if found is not None:
                share = found.share
                if not rows:
                    rows.append([reference.name, number(found.easy[1]), number(found.others[1])])
                rows.append([each.name, number(found.easy[0]), number(found.others[0])])
        if rows:
            head = [f"mean SDR in frames where {reference.name} has", f"{EASY:g} dB or more ({share:.0%})", "less"]
            lines += ["", *aligned(head, rows)]
    return lines[1:]


def sentences(results: tp.Sequence[InstrumentalScores], evaluations: tp.Sequence[Evaluation],
              found: tp.Sequence[InstrumentalDifference]) -> tp.List[str]:
    """What the numbers of `results`, which are those of `evaluations`, and their differences show, in full sentences."""
    by_name = {each.name: each for each in results}
    told = [sentence_of_means(results)] if any(each.nsdr_mean is not None for each in results) else []
    whole = {each.name: each for each in evaluations}
    for item in found:
        if item.family == NSDR_MEAN.key:
            told.append(sentence_of_pair(by_name[item.first], by_name[item.second], item,
                                         split(whole[item.first], whole[item.second])))
    if len(results) > 1:
        told.append("Every result is one training or one set of weights: intervals are about other songs like these, "
                    "not about another training of the same model, whose seed alone may make such a difference.")
    dropped = [f"{counted(each.infinite, 'frame')} of {each.name}" for each in results if each.infinite]
    if dropped:
        told.append(f"Frames without any error are infinite and dropped, also from the mean: {', '.join(dropped)}.")
    return told


def sentence_of_means(results: tp.Sequence[InstrumentalScores]) -> str:
    """Difference between the aggregates of the same separations."""
    gaps = ", ".join(f"{number(each.mean - each.nsdr_mean, plus=True)} dB for {each.name} ({each.easy:.0%} of its "
                     f"frames have {EASY:g} dB or more)" for each in results if each.nsdr_mean is not None)
    return (f"The mean over pooled frames minus the mean nSDR of the same separations is {gaps}. Such a mean is comparable "
            f"with other means over pooled frames only, and with neither an nSDR nor a median over tracks.")


def sentence_of_pair(first: InstrumentalScores, second: InstrumentalScores, item: InstrumentalDifference,
                     frames: tp.Optional[Split]) -> str:
    """What follows for two results from their nSDR, and whether the mean over pooled frames says the same."""
    pooled = first.mean - second.mean
    verdict = "cannot be distinguished from" if item.verdict == UNCLEAR else f"is {item.verdict} than"
    text = (f"{first.name} {verdict} {second.name} in nSDR ({number(item.value, plus=True)} dB, better on {item.won} of "
            f"{item.tracks} songs)")
    if frames is None or not 0 < frames.share < 1:
        return f"{text}. The difference of the means over pooled frames is {number(pooled, plus=True)} dB."
    parts = (f"{number(frames.from_easy, plus=True)} dB from the {frames.share:.0%} of frames where {second.name} has "
             f"{EASY:g} dB or more ({number(frames.easy[0])} against {number(frames.easy[1])} dB), "
             f"{number(frames.from_others, plus=True)} dB from all others ({number(frames.others[0])} against "
             f"{number(frames.others[1])} dB)")
    same = frames.from_easy * frames.from_others > 0 and (pooled > 0) == (item.verdict == BETTER)
    does = "differ by" if item.verdict == UNCLEAR else "differ in the same direction, by" if same else \
        "do not show this: they differ by"
    return f"{text}. The means over pooled frames {does} {number(pooled, plus=True)} dB: {parts}."


def page_text(report: InstrumentalReport) -> str:
    """The report in Markdown, as it stands between the marks of a page."""
    head = ["result", *(f"pooled {name}" for name in HEAD[1:4]), *(f"track medians, {name}" for name in HEAD[4:6]),
            *(f"nSDR, {name}" for name in HEAD[6:8]), *HEAD[8:]]
    differences = [[f"{item.first} minus {item.second}", EVERY_FAMILY[item.family].short,
                    number(item.value, DIGITS, plus=True), number(item.error, DIGITS), interval_text(item.low, item.high),
                    f"{item.won} of {item.tracks}", item.verdict] for item in report.differences]
    names = ["first minus second", "of", "mean (dB)", "standard error", "95 % interval", "songs better", "first is"]
    items = "\n".join(textwrap.fill(f"- {sentence}", WIDTH, subsequent_indent="  ", break_long_words=False,
                                    break_on_hyphens=False) for sentence in report.sentences)
    parts = [markdown(head, map(row, report.results), "l" + "r" * (len(head) - 1)),
             *([markdown(names, differences, "llrrrrl")] if differences else []), items]
    return "\n" + true_minus("\n\n".join(parts)) + "\n\n"


def write_page(report: InstrumentalReport, page: Path) -> None:
    """Replace the text between the marks in `page`. Raises ConfigError if they are missing."""
    content = page.read_text(encoding="utf-8")
    if content.count(BEGIN) != 1 or content.count(END) != 1 or content.index(BEGIN) > content.index(END):
        raise ConfigError(f"{page}: has no place for the results; it needs the lines {BEGIN.strip()} and {END.strip()}")
    before, after = content[:content.index(BEGIN)], content[content.index(END):]
    write_text(page, f"{before}{BEGIN}{page_text(report)}{after}")
