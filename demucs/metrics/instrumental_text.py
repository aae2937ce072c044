"""Results on the instrumental as tables and sentences: what their numbers show, and what they do not."""

import re
import typing as tp

from ..schema import Evaluation, InstrumentalDifference, InstrumentalScores
from ..tables import aligned, counted, interval_text, number, p_text
from .aggregates import EVERY_FAMILY, NSDR_MEAN
from .instrumental import EASY, Split, split
from .statistics import BETTER, UNCLEAR

DIGITS = 3              # of the notes
HEAD = ("", "mean", "median", "std", "mean", "median", "mean", "median", "frames", "dropped", f"{EASY:g} dB or more")
GROUPS = ("SDR of all frames (pooled)", "SDR, track medians", "nSDR of tracks")


def table(results: tp.Sequence[InstrumentalScores]) -> tp.List[str]:
    """Lines of a table with a row for each result. Columns are the mean, median and population standard deviation over
    all frames, mean and median over tracks of their median frames, and mean and median over tracks of nSDR."""
    rows = []
    for each in results:
        numbers = (each.mean, each.median, each.std, each.mean_of_medians, each.median_of_medians, each.nsdr_mean,
                   each.nsdr_median)
        rows.append([each.name, *(number(value, DIGITS) for value in numbers), str(each.frames),
                     str(each.undefined + each.infinite), f"{each.easy:.0%}"])
    head, *lines = aligned(HEAD, rows, least=(0, 8))
    ends = [match.end() for match in re.finditer(r"\S+", head)]
    groups = ""
    for title, end in zip(GROUPS, (ends[2], ends[4], ends[6])):      # over the last of its columns
        groups = groups.ljust(max(len(groups) + 2, end - len(title))) + title
    return [groups, head, *lines]


def difference_line(item: InstrumentalDifference) -> str:
    """Line of text about a paired difference."""
    family = EVERY_FAMILY[item.family]
    test = "" if item.p_value is None else f", signed-rank p {p_text(item.p_value, '= ')}"
    return (f"{item.first} minus {item.second}, {family.short}: {number(item.value, DIGITS, plus=True)} dB, standard error "
            f"{number(item.error, DIGITS)}, 95 % interval {interval_text(item.low, item.high)}, better on {item.won} of "
            f"{item.tracks} songs, worse on {item.lost}{test}: {item.verdict}")


def split_lines(evaluations: tp.Sequence[Evaluation]) -> tp.List[str]:
    """Lines of tables, one for each evaluation but the last, with the means of all later ones over the frames where it has
    `EASY` dB or more, and over all others."""
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
            lines += ["", *aligned([f"mean SDR in frames where {reference.name} has", f"{EASY:g} dB or more ({share:.0%})",
                                    "less"], rows)]
    return lines[1:]


def sentences(results: tp.Sequence[InstrumentalScores], evaluations: tp.Sequence[Evaluation],
              found: tp.Sequence[InstrumentalDifference]) -> tp.List[str]:
    """What the numbers of `results`, which are those of `evaluations`, and their differences show, in full sentences."""
    by_name = {each.name: each for each in results}
    told = [sentence_of_means(each) for each in results if each.nsdr_mean is not None]
    whole = {each.name: each for each in evaluations}
    for item in found:
        if item.family == NSDR_MEAN.key:
            told.append(sentence_of_pair(by_name[item.first], by_name[item.second], item,
                                         split(whole[item.first], whole[item.second])))
    if len(results) > 1:
        told.append("Every result is one training or one set of weights: intervals are about other songs like these, not "
                    "about another training of the same model, whose seed alone may make such a difference.")
    dropped = [f"{counted(each.infinite, 'frame')} of {each.name}" for each in results if each.infinite]
    if dropped:
        told.append(f"Frames without any error are infinite and dropped, also from the mean: {', '.join(dropped)}.")
    return told


def sentence_of_means(each: InstrumentalScores) -> str:
    """Difference between the aggregates of one result."""
    gap = each.mean - (each.nsdr_mean or 0.)
    return (f"{each.name}: the mean over pooled frames is {number(abs(gap), DIGITS)} dB {'above' if gap >= 0 else 'below'} "
            f"the mean nSDR of the same separations; {each.easy:.0%} of the frames have {EASY:g} dB or more. It is "
            f"comparable with other means over pooled frames only, and with neither an nSDR nor a median over tracks.")


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
    if item.verdict != UNCLEAR and same:
        return f"{text}. The means over pooled frames differ in the same direction, by {number(pooled, plus=True)} dB: {parts}."
    return f"{text}. The means over pooled frames do not show this: they differ by {number(pooled, plus=True)} dB, {parts}."
