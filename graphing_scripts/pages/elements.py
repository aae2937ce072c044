"""Elements of a self-contained HTML page: tables, pictures in two themes, players, sections.

All text from records is escaped. The style sheet and the script (`report.css`, `report.js`) are embedded, and the page
refers to no other file or address.
"""

import base64
import html
import re
import typing as tp
from pathlib import Path

from figures.style import DARK, LIGHT, Theme, svg, themed

from demucs.tables import typeset

from .excerpts import LOWEST, REFERENCE, Clip, Excerpt, height_of

HERE = Path(__file__).resolve().parent
FREQUENCIES = {100.: "100 Hz", 1000.: "1 kHz", 10000.: "10 kHz"}
NARROWEST = 44.      # rem, minimum width of a picture: on a phone it scrolls, with legible text
escape = html.escape

Cell = tp.Union[str, float, None]


def table(head: tp.Sequence[str], rows: tp.Iterable[tp.Sequence[Cell]], *, caption: str, sortable: bool = False,
          kinds: tp.Optional[tp.Sequence[str]] = None, changes: tp.Container[int] = ()) -> str:
    """HTML table whose first column has the names of the rows; "" without rows.

    Numbers are shown with two decimals, None as a dash, strings as text. A row of one string is a heading within the
    table. `caption` is the title. With `sortable`, a click on a column's head sorts by it. `kinds` are CSS classes of
    the rows. Numbers in the columns `changes` (indices) always have a sign.
    """
    rows = list(rows)
    if not rows:
        return ""
    text = [all(isinstance(row[column], str) for row in rows if len(row) > 1) for column in range(len(head))]
    cells = "".join(f'<th scope="col"{" class=text" if left else ""}>{_sorter(name) if sortable else escape(name)}</th>'
                    for name, left in zip(head, text))
    body = []
    for place, row in enumerate(rows):
        kind = f' class="{escape(kinds[place])}"' if kinds else ""
        if len(row) == 1:
            body.append(f'<tr class="group"><th scope="colgroup" colspan="{len(head)}">{escape(str(row[0]))}</th></tr>')
            continue
        body.append(f'<tr{kind}><th scope="row">{escape(str(row[0]))}</th>' + "".join(
            _cell(value, plus=column in changes) for column, value in enumerate(row[1:], start=1)) + "</tr>")
    return (f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">'
            f'<table{" class=sortable" if sortable else ""}><caption><span>{escape(caption)}</span></caption>'
            f"<thead><tr>{cells}</tr></thead><tbody>{''.join(body)}</tbody></table></div>")


def _sorter(name: str) -> str:
    return f'<button type="button">{escape(name)}</button>'


def _cell(value: Cell, plus: bool) -> str:
    if isinstance(value, str):
        return f'<td class="text">{escape(value)}</td>'
    exact = "" if value is None else f' data-value="{value:.6f}"'
    return f"<td{exact}>{typeset(value, plus=plus)}</td>"


def picture(draw: tp.Callable[[Theme], tp.Any], alt: str) -> str:
    """HTML with the figure that `draw(theme)` returns, as SVG in both themes; "" if it returns None. `alt` is the text
    for readers who cannot see it. The style sheet shows one of the two: that of the reader's colour scheme on a screen,
    the light one in print."""
    images = []
    for theme in (LIGHT, DARK):
        with themed(theme):
            figure = draw(theme)
            if figure is None:
                return ""
            data = base64.b64encode(svg(figure).encode("utf-8")).decode("ascii")
            width = figure.get_size_inches()[0] * 5.5   # rem: text comes out alike in all pictures
        sizes = f"max-width:{width:.1f}rem;min-width:{min(width, NARROWEST):.1f}rem"
        images.append(f'<img class="{theme.name}" style="{sizes}" alt="{escape(alt)}" '
                      f'src="data:image/svg+xml;base64,{data}">')
    return f'<div class="wide figure">{"".join(images)}</div>'


def players(cut: Excerpt, about: str = "") -> str:
    """HTML with players and spectrograms of the excerpt `cut`: the mixture, then one row per source, with a column per
    run and one for the reference. `about` is shown below the name of the track."""
    parts = []
    if cut.mixture is not None:
        parts.append(f'<div class="clips one">{_player("the mixture", cut.mixture)}</div>')
    for source, clips in cut.clips.items():
        separated = [column for column in cut.columns if column != REFERENCE]
        figures = []
        for column in cut.columns:
            if column not in clips:
                continue
            by = f" by {column}" if len(separated) > 1 else ""
            what = REFERENCE if column == REFERENCE else f"separated{by}"
            figures.append(_player(f"{source}, {what}", clips[column]))
        parts.append(f'<div class="clips">{"".join(figures)}</div>')
    return (f"<h3>{escape(cut.track)}</h3>" + paragraph(about) +
            paragraph(f"{cut.seconds:.0f} s from second {cut.start:.0f}.", "quiet") + paragraph(cut.origin, "quiet")
            + f'<div class="listen">{"".join(parts)}</div>')


def _player(what: str, clip: Clip) -> str:
    ticks = "".join(f'<span style="top:{100 - 100 * height_of(frequency):.1f}%">{words}</span>'
                    for frequency, words in FREQUENCIES.items() if frequency > LOWEST)
    return (f'<figure><figcaption>{escape(what)}</figcaption><div class="spectrum"><img src="{clip.picture}" '
            f'alt="Spectrogram of {escape(what)}">{ticks}<i></i></div>'
            f'<audio controls preload="metadata" aria-label="{escape(what)}" src="{clip.audio}"></audio></figure>')


def section(title: str, *parts: str) -> str:
    """HTML section with the heading `title` and the HTML `parts`; "" if these are empty."""
    content = "".join(parts)
    return f'<section id="{_anchor(title)}"><h2>{escape(title)}</h2>{content}</section>' if content else ""


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def contents(body: str) -> str:
    """HTML navigation bar with links to the sections in the HTML text `body`; "" without sections."""
    found = re.findall(r'<section id="([^"]*)"><h2>(.*?)</h2>', body)
    return "<nav>" + "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in found) + "</nav>" if found else ""


def folded(title: str, *parts: str, on_paper: bool = False) -> str:
    """HTML details element with the HTML `parts`, collapsed below `title`; "" if these are empty. With `on_paper` it is
    expanded in print."""
    content, kind = "".join(parts), ' class="paper"' if on_paper else ""
    return f"<details{kind}><summary>{escape(title)}</summary>{content}</details>" if content else ""


def paragraph(text: str, kind: str = "") -> str:
    """HTML paragraph of plain text, with the CSS class `kind`; "" without text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>" if text else ""


def notes(texts: tp.Sequence[str]) -> str:
    """HTML box with the plain `texts`, remarks that the reader should see first; "" without any."""
    if len(texts) < 2:
        return "".join(paragraph(text, "note") for text in texts)
    return f'<ul class="note">{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul>'


def facts(pairs: tp.Iterable[tp.Tuple[str, str]]) -> str:
    """HTML description list of names and values. Pairs with an empty value are left out; "" if none remains."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value)
    return f"<dl>{items}</dl>" if items else ""


def page(title: str, body: str) -> str:
    """Complete HTML document with the HTML text `body`, and embedded style sheet and script."""
    css = (HERE / "report.css").read_text(encoding="utf-8")
    script = (HERE / "report.js").read_text(encoding="utf-8")
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(title)}</title><style>\n{css}</style></head>\n"
            f"<body><main>{body}</main><script>\n{script}</script></body></html>\n")
