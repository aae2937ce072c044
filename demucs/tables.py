"""Numbers and tables as text: for terminals and Markdown, and numbers for figures and pages."""

import re
import typing as tp

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
MOST_DECIMALS = 6       # of an end of an interval that is nearly zero
DECIMALS = 2            # of scores and differences in dB, wherever they are shown
BETWEEN_NAMES = 2       # blanks before the name of a column, at least


def number(value: tp.Optional[float], digits: int = DECIMALS, *, plus: bool = False, missing: str = "-") -> str:
    """A number with so many decimals, without a minus before zero; `missing` where there is none. `plus`: with its sign
    even where it is positive."""
    if value is None:
        return missing
    return format(round(float(value), digits) + 0., f"{'+' if plus else ''}.{digits}f")


def typeset(value: tp.Optional[float], digits: int = DECIMALS, *, plus: bool = False) -> str:
    """The same as printed matter has it: with a true minus sign, and a dash where there is none."""
    return number(value, digits, plus=plus, missing=DASH).replace("-", MINUS)


def true_minus(text: str) -> str:
    """`text` with minus signs before its numbers instead of hyphens."""
    return re.sub(r"(?<![\w-])-(?=\d)", MINUS, text)


def interval_text(low: float, high: float) -> str:
    """The ends of an interval of differences: "+0.10 to +0.30"."""
    return " to ".join(interval_ends(low, high))


def interval_ends(low: float, high: float) -> tp.Tuple[str, str]:
    """The ends of an interval of differences as text. An interval without zero in it is shown without: an end that two
    decimals would make zero has as many as it needs, "+0.004"."""
    def text(end: float) -> str:
        digits = DECIMALS
        while low * high > 0 and round(end, digits) == 0 and digits < MOST_DECIMALS:
            digits += 1
        return number(end, digits, plus=True)
    return text(low), text(high)


def p_text(value: float, equals: str = "") -> str:
    """"< 0.001", or three decimals after `equals`."""
    return "< 0.001" if value < 0.001 else f"{equals}{value:.3f}"


def duration(seconds: tp.Optional[float], *, fine: bool = False, missing: str = "-") -> str:
    """"12 s", "5 min", "3 h 20 min", "2 d 4 h"; `fine`: with the seconds of minutes, "5 min 07 s". What is begun of the
    smallest unit does not count."""
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
    """The lines of a table for a terminal, the head first. A row of one cell is a line of its own, across the columns.

    Args:
        head: names of the columns.
        rows: cells, of every column.
        left: the columns that are aligned to the left; the others are to the right.
        least: widths of the columns in characters that they have at least; the last is that of all further ones.
        gap: blanks before a cell, at least.
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
    """A table in Markdown. `align` has a letter for each column, "l" for the left or "r" for the right (default: all
    left)."""
    rules = "|".join("---:" if letter == "r" else "---" for letter in align or "l" * len(head))
    first, *others = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows))
    return "\n".join([first, f"|{rules}|", *others])
