"""Formatting of numbers and tables as text, for terminals, Markdown, figures and pages."""

import collections
import re
import typing as tp

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
MOST_DECIMALS = 6       # of a bound of an interval that is nearly zero
DECIMALS = 2            # of scores and differences in dB
BETWEEN_NAMES = 2       # smallest number of blanks before the name of a column


def number(value: tp.Optional[float], digits: int = DECIMALS, *, plus: bool = False, missing: str = "-") -> str:
    """Number as text with `digits` decimals, without a minus sign for zero; `missing` for None. With `plus`, positive
    numbers and zero have a sign, too."""
    if value is None:
        return missing
    return format(round(float(value), digits) + 0., f"{'+' if plus else ''}.{digits}f")


def counted(count: int, noun: str) -> str:
    """Number with its noun as text: "1 track", "5 tracks", by an added s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def typeset(value: tp.Optional[float], digits: int = DECIMALS, *, plus: bool = False) -> str:
    """Number as text for figures and pages, as by `number`, but with a true minus sign instead of a hyphen, and a dash
    for None."""
    return number(value, digits, plus=plus, missing=DASH).replace("-", MINUS)


def true_minus(text: str) -> str:
    """`text` with true minus signs instead of hyphens before numbers."""
    return re.sub(r"(?<![\w-])-(?=\d)", MINUS, text)


def interval_text(low: float, high: float) -> str:
    """Bounds of an interval of differences as text, "+0.10 to +0.30"; see `interval_ends`."""
    return " to ".join(interval_ends(low, high))


def interval_ends(low: float, high: float) -> tp.Tuple[str, str]:
    """Bounds of an interval of differences as two texts with signs and two decimals. If the interval excludes zero, so
    do the texts: a bound that two decimals would round to zero has as many decimals as it needs, up to six,
    "+0.004"."""
    def text(end: float) -> str:
        digits = DECIMALS
        while low * high > 0 and round(end, digits) == 0 and digits < MOST_DECIMALS:
            digits += 1
        return number(end, digits, plus=True)
    return text(low), text(high)


def p_text(value: float, equals: str = "") -> str:
    """P-value as text: "< 0.001", or three decimals with the prefix `equals`, "= 0.012"."""
    return "< 0.001" if value < 0.001 else f"{equals}{value:.3f}"


def duration(seconds: tp.Optional[float], *, fine: bool = False, missing: str = "-") -> str:
    """Duration as text, "12 s", "5 min", "3 h 20 min" or "2 d 4 h", rounded down; `missing` for None. With `fine`,
    durations from a minute to an hour have seconds, too: "5 min 07 s"."""
    if seconds is None:
        return missing
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min" + (f" {rest:02d} s" if fine else "")
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def aligned(head: tp.Sequence[str], rows: tp.Iterable[tp.Sequence[str]], *, left: tp.Container[int] = (0,),
            least: tp.Sequence[int] = (0,), gap: int = 2) -> tp.List[str]:
    """Lines of a table for a terminal, the first of which is the head. A row of one cell spans all columns.

    Args:
        head: names of the columns.
        rows: cells of each row, one per column.
        left: indices of left-aligned columns; the others are right-aligned.
        least: minimum widths of the columns in characters; the last one is that of all further columns.
        gap: minimum number of blanks before a cell.
    """
    rows = list(rows)
    cells = [row for row in rows if len(row) > 1]
    widths = []
    for column, name in enumerate(head):
        longest = max((len(row[column]) for row in cells), default=0)
        needed = max(len(name) + BETWEEN_NAMES, longest + gap) if column else max(len(name), longest)
        widths.append(max(least[min(column, len(least) - 1)], needed))

    def line(row: tp.Sequence[str]) -> str:
        if len(row) == 1:
            return row[0]
        return "".join(f"{' ' * gap if column else ''}{cell}".ljust(width) if column in left else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
    return [line(row) for row in (head, *rows)]


def markdown(head: tp.Sequence[str], rows: tp.Iterable[tp.Sequence[str]], align: str = "") -> str:
    """Table in Markdown, as text. `align` has a letter for each column, "l" for left or "r" for right (default: all
    left). Vertical bars in cells are escaped."""
    rules = "|".join("---:" if letter == "r" else "---" for letter in align or "l" * len(head))
    first, *others = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows))
    return "\n".join([first, f"|{rules}|", *others])


def tally(values: tp.Iterable[str], *, unit: str = "", most: tp.Optional[int] = None) -> str:
    """Different values, the most frequent first, at most `most` of them; with their numbers and `unit` if there are
    several, such as "44100 (8 files), 48000 (1 files)". "-" without values."""
    counts = collections.Counter(values).most_common()
    if len(counts) < 2:
        return "".join(value for value, _ in counts) or "-"
    more = f", {len(counts) - most} more" if most is not None and len(counts) > most else ""
    return ", ".join(f"{value} ({count}{unit})" for value, count in counts[:most]) + more
