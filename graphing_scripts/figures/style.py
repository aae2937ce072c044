"""Style of all figures: one colour per source, a light and a dark theme, and output as PNG and SVG.

Colours of the sources are from Okabe and Ito's palette for all kinds of colour vision ("Color Universal Design", 2008),
with a lighter blue, so that each has a contrast of at least 3 on white and on near-black. Everything else is drawn in
greys.
"""

import io
import typing as tp
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from demucs.files import beside, write_text
from demucs.metrics.aggregates import ALL

_SOURCE_COLORS = {"drums": "#D55E00", "bass": "#1E82C8", "other": "#009E73", "vocals": "#CC79A7",
                  "guitar": "#8C7B00", "piano": "#7A52A3"}
_MORE_COLORS = ("#8C5A4A", "#3D9AA8", "#A8437A", "#5B7F2B", "#4A5FA8", "#B0752A", "#7F6A8C", "#2F7F6A")
_RUN_COLORS = ("#1E82C8", "#D55E00", "#009E73", "#CC79A7", "#7A52A3", "#8C7B00")
_RUN_DASHES: tp.Tuple[tp.Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


DPI = 150    # of PNGs


@dataclass(frozen=True)
class Theme:
    """Colours of a figure or page for everything that is not a source: background, text, secondary text and marks
    (`muted`), grid lines."""
    name: str
    background: str
    text: str
    muted: str
    grid: str


LIGHT = Theme(name="light", background="#ffffff", text="#1b1f24", muted="#767d86", grid="#e3e6ea")
DARK = Theme(name="dark", background="#14171b", text="#e8eaed", muted="#98a1ab", grid="#30363d")


def source_color(source: str, sources: tp.Sequence[str], theme: Theme) -> str:
    """Colour of a source, the same in all figures of a run. `sources` are all its sources; "all", the mean over them,
    has the colour of text."""
    if source == ALL:
        return theme.text
    unnamed = [name for name in sources if name not in _SOURCE_COLORS]
    return _SOURCE_COLORS.get(source) or _MORE_COLORS[unnamed.index(source) % len(_MORE_COLORS)]


def run_look(number: int) -> tp.Dict[str, tp.Any]:
    """Colour and dash pattern of the line of the run with index `number` in a comparison, as keyword arguments of
    matplotlib's `plot`. The dashes distinguish runs for readers who cannot distinguish the colours."""
    return {"color": _RUN_COLORS[number % len(_RUN_COLORS)], "linestyle": _RUN_DASHES[number % len(_RUN_DASHES)]}


@contextmanager
def themed(theme: Theme) -> tp.Iterator[None]:
    """Context with matplotlib's settings for `theme`. Text in SVG is converted to paths, so that figures look the same
    with any installed fonts."""
    settings = {
        "figure.facecolor": theme.background, "axes.facecolor": "none", "savefig.facecolor": theme.background,
        "text.color": theme.text, "axes.labelcolor": theme.text, "axes.titlecolor": theme.text,
        "xtick.color": theme.muted, "ytick.color": theme.muted, "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text, "axes.edgecolor": theme.muted, "grid.color": theme.grid,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 11,
        "axes.titleweight": "bold", "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9,
        "legend.fontsize": 9, "legend.frameon": False, "font.size": 10, "lines.linewidth": 1.6,
        "font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "demucs", "hatch.linewidth": 0.6,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of `width` times `height` inches, with matplotlib's constrained layout."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, title: str, subtitle: str, theme: Theme, *, below: float = 0.) -> None:
    """Write a title at the top of the figure, and under it a line in a muted colour that explains what is shown.
    `below` inches under that line stay empty."""
    height = figure.get_size_inches()[1]
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.62 + below) / height))
    figure.text(0.012, 1 - 0.10 / height, title, fontsize=13, fontweight="bold", va="top", ha="left")
    figure.text(0.012, 1 - 0.36 / height, subtitle, fontsize=10, color=theme.muted, va="top", ha="left")


def key(figure: Figure, entries: tp.Sequence[tp.Any]) -> None:
    """Draw a legend of `entries` (matplotlib's handles) in one row between the heading (made with `below=0.3`) and the
    panels."""
    height = figure.get_size_inches()[1]
    figure.legend(handles=list(entries), loc="upper left", bbox_to_anchor=(0.004, 1 - 0.57 / height),
                  ncols=len(entries), borderaxespad=0., columnspacing=1.6, handlelength=2.2)


def settle(figure: Figure) -> None:
    """Compute the layout of the figure once and keep it, instead of computing it for each output file. Has no effect
    when repeated."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def svg(figure: Figure) -> str:
    """SVG text of the figure, the same at every call. Call within `themed`."""
    settle(figure)
    buffer, dpi = io.StringIO(), figure.dpi
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})    # `savefig` would draw twice
    figure.dpi = dpi
    return buffer.getvalue()


def save(figure: Figure, folder: Path, name: str) -> tp.List[Path]:
    """Write the figure to NAME.png and NAME.svg in `folder` and return both paths. Existing files are replaced. Call
    within `themed`."""
    png, vector = folder / f"{name}.png", folder / f"{name}.svg"
    write_text(vector, svg(figure))
    figure.dpi = DPI
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    with beside(png) as file:
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(file, dpi=(DPI, DPI))
    return [png, vector]
