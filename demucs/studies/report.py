"""Results of a study as text, for a terminal and for a page."""

import textwrap
from pathlib import Path

from ..errors import ConfigError
from ..files import write_text
from ..metrics.study_tables import answer, arm_rows, comparison_rows, notes, sentence
from ..schema import StudyResult
from ..tables import aligned, markdown, true_minus

BEGIN, END = "<!-- written by tools.study: begin -->\n", "<!-- written by tools.study: end -->\n"
WIDTH = 120


def text(result: StudyResult, folder: Path) -> str:
    """The report for a terminal."""
    arms, pairs = arm_rows(result, folder), comparison_rows(result)
    return "\n".join([
        f"Study {result.name}, {result.created[:10]}: {result.question}", "", answer(result), "",
        *aligned(*arms), "", *aligned(*pairs, left=(0, 3)), "",
        *(sentence(item) for item in result.comparisons[1:]), "", *notes(result, folder)])


def page_text(result: StudyResult, folder: Path) -> str:
    """The report in Markdown, as it stands between the marks of a page."""
    def filled(line: str) -> str:
        return textwrap.fill(true_minus(line), WIDTH, break_long_words=False, break_on_hyphens=False)
    (head, rows), (names, pairs) = arm_rows(result, folder), comparison_rows(result)
    return "\n" + "\n\n".join([
        filled(f"Study `{result.name}`, {result.created[:10]}, torch {result.versions.get('torch', '?')}. "
               f"{result.question}"),
        filled(f"**{answer(result)}**"), true_minus(markdown(head, rows, "l" + "r" * (len(head) - 1))),
        true_minus(markdown(names, pairs, "lrrl")), *(filled(sentence(item)) for item in result.comparisons[1:]),
        "\n".join(textwrap.fill(true_minus(f"- {note}"), WIDTH, subsequent_indent="  ", break_long_words=False,
                                break_on_hyphens=False) for note in notes(result, folder))]) + "\n\n"


def write_page(result: StudyResult, folder: Path, page: Path) -> None:
    """Replace the text between the marks in `page`. Raises ConfigError if they are missing."""
    content = page.read_text(encoding="utf-8")
    if content.count(BEGIN) != 1 or content.count(END) != 1 or content.index(BEGIN) > content.index(END):
        raise ConfigError(f"{page}: has no place for the results; it needs the lines {BEGIN.strip()} and {END.strip()}")
    before, after = content[:content.index(BEGIN)], content[content.index(END):]
    write_text(page, f"{before}{BEGIN}{page_text(result, folder)}{after}")
