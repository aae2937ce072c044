"""Tables of docs/quality.md, generated from the record of a study."""

import textwrap
import typing as tp
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from ..files import write_text
from ..schema import QualityStudy, RankCorrelation, unpack_frames
from ..tables import MINUS, markdown, typeset

PAGE = Path("docs") / "quality.md"
BEGIN, END = "<!-- written by tools.study_quality: begin -->\n", "<!-- written by tools.study_quality: end -->\n"
WIDTH = 120
QUESTIONS = {
    ("model", "tracks"): "Which songs came out well? The trained model and its degraded copies, correlation over songs",
    ("model", "separators"): "Which weights are better? The same, correlation over the weights",
    ("all", "tracks"): "Which songs came out well? All separators, correlation over songs",
    ("all", "separators"): "Which separator is better? All separators, correlation over separators",
}


def write_tables(study: QualityStudy, page: Path) -> None:
    """Replace the text between the two marker lines in `page` by the tables of `study`. Raises ConfigError, without
    writing, unless each marker occurs exactly once, in order."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ConfigError(f"{page}: has no place for the tables; it needs the lines {BEGIN.strip()} and {END.strip()}")
    before, after = text[:text.index(BEGIN)], text[text.index(END):]
    write_text(page, f"{before}{BEGIN}{tables(study)}{after}")


def tables(study: QualityStudy) -> str:
    """Markdown text of the results of a study: its description, the mean nSDR of each separator and source, and
    Spearman's rank correlations of the measures with nSDR, with 95 % intervals."""
    parts = [f"Study `{study.name}`: {study.dataset}, {len(study.tracks)} songs, {len(study.columns)} separators, seed "
             f"{study.settings['seed']}; {study.created[:10]}, torch {study.versions.get('torch', '?')}.",
             _qualities(study)]
    for (among, over), title in QUESTIONS.items():
        found = [item for item in study.correlations if (item.among, item.over) == (among, over)]
        if found:
            parts.append(f"**{title}.**\n\n{_correlations(study, found)}\n\n{_summary(study, found)}")
    parts.append("Spearman's rho and its 95 % interval over songs; the sign it was expected to have stands before "
                 "them. **Bold** where the\ninterval excludes zero on the expected side, *slanted* where it does on "
                 "the other.")
    return "\n" + "\n\n".join(parts) + "\n\n"


def _qualities(study: QualityStudy) -> str:
    rows = [[column.kind, column.separator.replace(" -", f" {MINUS}"),
             *(typeset(float(np.mean(unpack_frames(column.nsdr[source]))), 1) for source in study.sources)]
            for column in study.columns]
    return markdown(["kind", "separator", *(f"{source}, nSDR (dB)" for source in study.sources)], rows)


def _correlations(study: QualityStudy, found: tp.Sequence[RankCorrelation]) -> str:
    keys = list(dict.fromkeys(item.measure for item in found))
    cells = {(item.measure, item.source): _cell(item, _side(item, study)) for item in found}
    sources = list(dict.fromkeys(item.source for item in found))
    return markdown(["measure", "expected", *("mean" if source == "all" else source for source in sources)],
                    [[f"`{key}`: {study.measures[key]}", "+" if study.expected[key] > 0 else MINUS,
                      *(cells[key, source] for source in sources)] for key in keys])


def _summary(study: QualityStudy, found: tp.Sequence[RankCorrelation]) -> str:
    """Sentences that name the measures whose correlation excludes zero, with the sources for which it does."""
    single = [item for item in found if item.source != "all"]
    as_expected = {key: [item.source for item in single if item.measure == key and _side(item, study) > 0]
                   for key in study.expected}
    reverse = {key: [item.source for item in single if item.measure == key and _side(item, study) < 0]
               for key in study.expected}
    every = [f"`{key}`" for key, sources in as_expected.items() if len(sources) == len(study.sources)]
    some = [f"`{key}` ({', '.join(sources)})" for key, sources in as_expected.items()
            if 0 < len(sources) < len(study.sources)]
    wrong = [f"`{key}` ({', '.join(sources)})" for key, sources in reverse.items() if sources]
    return textwrap.fill(f"Beyond chance for every source: {', '.join(every) or 'none'}. For some: "
                         f"{', '.join(some) or 'none'}. The reverse of what was expected: "
                         f"{', '.join(wrong) or 'none'}.",
                         WIDTH, break_long_words=False, break_on_hyphens=False)


def _side(item: RankCorrelation, study: QualityStudy) -> int:
    """1 if the confidence interval is on the expected side of zero, -1 if on the other side, 0 if it contains zero."""
    if item.low <= 0 <= item.high:
        return 0
    return 1 if item.rho * study.expected[item.measure] > 0 else -1


def _cell(item: RankCorrelation, side: int) -> str:
    mark = {0: "", 1: "**", -1: "*"}[side]
    return f"{mark}{typeset(item.rho)} [{typeset(item.low)}, {typeset(item.high)}]{mark}"
