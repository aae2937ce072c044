"""Diagrams of hybrid models, drawn with matplotlib from the layers of an instance."""

import typing as tp
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from ..files import beside
from ..layers.transformer import SelfLayer

SPECTRAL, TEMPORAL, BOTH = "#4477aa", "#cc6677", "#777777"
SUFFIXES = (".svg", ".png", ".pdf")


def box(axes: tp.Any, x: float, y: float, text: str, color: str, width: float = 2.5) -> None:
    """Draw a filled rectangle with rounded corners and white text in its centre, around (x, y) in the units of
    `axes`."""
    axes.add_patch(FancyBboxPatch((x - width / 2, y - 0.3), width, 0.6, boxstyle="round,pad=0.04", color=color,
                                  alpha=0.9, linewidth=0))
    axes.text(x, y, text, ha="center", va="center", color="white", fontsize=8)


def arrow(axes: tp.Any, start: tp.Tuple[float, float], end: tp.Tuple[float, float], style: str = "-",
          color: str = "0.45") -> None:
    """Draw an arrow from point `start` to point `end` (x, y) in the units of `axes`; `style` is matplotlib's line
    style."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "linestyle": style,
                                              "shrinkA": 1, "shrinkB": 1})


def describe(spec: tp.Any, up: bool) -> str:
    """Text for the box of a level with the settings `spec`: its channels, and the factor by which its convolution
    divides (encoder) or multiplies (decoder, `up`) the length of the frequency axis F or time axis T, such as "2 → 48
    T / 4"."""
    along = "F" if spec.axis == "frequency" else "T"
    factor = spec.stride if spec.padding else spec.kernel
    return f"{spec.inner} → {spec.outer}   {along} × {factor}" if up else \
        f"{spec.outer} → {spec.inner}   {along} / {factor}"


def draw(model: tp.Any, path: Path) -> None:
    """Draw the diagram of a hybrid model with a frequency and a time branch to the file `path` (svg, png or pdf).
    Encoders are in the left half from top to bottom, decoders in the right half from bottom to top. The frequency
    branch is inside, the time branch outside, the transformer (if any) below."""
    depth = len(model.encoder)
    figure, axes = plt.subplots(figsize=(11, 0.95 * (depth + 3)))
    places = {"tenc": 0., "enc": 3., "dec": 7., "tdec": 10.}
    level = lambda index: -1.15 * (index + 1)   # noqa: E731
    box(axes, places["tenc"], 0, "waveform, normalised", TEMPORAL)
    n_fft = next(branch.view.n_fft for branch in model.branches if branch.view is not None)
    box(axes, places["enc"], 0, f"spectrogram, n_fft {n_fft}", SPECTRAL)
    box(axes, places["dec"], 0, "inverse transform", SPECTRAL)
    box(axes, places["tdec"], 0, "waveforms", TEMPORAL)
    box(axes, 5., 1.1, f"sum: {', '.join(model.sources)}", BOTH, width=3.6)
    arrow(axes, (places["dec"], 0.35), (5.6, 0.75))
    arrow(axes, (places["tdec"], 0.35), (6.85, 1.05))
    for index, (encode, decode) in enumerate(zip(model.encoder, reversed(list(model.decoder)))):
        color = SPECTRAL if encode.spec.axis == "frequency" else BOTH
        for name, block in (("enc", encode), ("dec", decode)):
            box(axes, places[name], level(index), describe(block.spec, up=name in ("dec", "tdec")), color)
        arrow(axes, (places["enc"], level(index) + 0.8), (places["enc"], level(index) + 0.35))
        arrow(axes, (places["dec"], level(index) + 0.35), (places["dec"], level(index) + 0.8))
        arrow(axes, (places["enc"] + 1.3, level(index)), (places["dec"] - 1.3, level(index)), style=":")
    for index, (encode, decode) in enumerate(zip(model.tencoder, reversed(list(model.tdecoder)))):
        for name, block in (("tenc", encode), ("tdec", decode)):
            box(axes, places[name], level(index), describe(block.spec, up=name in ("dec", "tdec")), TEMPORAL)
        arrow(axes, (places["tenc"], level(index) + 0.8), (places["tenc"], level(index) + 0.35))
        arrow(axes, (places["tdec"], level(index) + 0.35), (places["tdec"], level(index) + 0.8))
        if encode.spec.merge:
            arrow(axes, (places["tenc"] + 1.3, level(index)), (places["enc"] - 1.3, level(index)))
            arrow(axes, (places["dec"] + 1.3, level(index)), (places["tdec"] - 1.3, level(index)))
            axes.text(1.5, level(index) + 0.12, "join", ha="center", fontsize=8)
            axes.text(8.5, level(index) + 0.12, "split", ha="center", fontsize=8)
    axes.text(5., level(0) + 0.12, "skip connections", ha="center", fontsize=8, color="0.3")
    transformer = getattr(model, "crosstransformer", None)
    words = "Channels in → out of each level; F / 4: frequency axis divided by 4, T: time axis."
    if transformer is not None:
        depth += 1
        bottleneck = level(depth - 1)
        box(axes, 5., bottleneck, "  |  ".join("self" if isinstance(layer, SelfLayer) else "cross"
                                               for layer in transformer.layers), BOTH, width=7.5)
        axes.text(5., bottleneck - 0.55, f"transformer of {transformer.spec.channels} channels: self-attention within "
                  "each branch, cross-attention between them", ha="center", fontsize=8, color="0.3")
        for start, shift in (("tenc", 1.8), ("enc", 0.5), ("dec", -0.5), ("tdec", -1.8)):
            above, below = (places[start], bottleneck + 0.8), (places[start] + shift, bottleneck + 0.35)
            arrow(axes, *((above, below) if "enc" in start else (below, above)))
    if any(block.spec.axis == "time" for block in model.encoder):
        words += "\nGrey levels run over time, once one frequency is left."
    axes.text(5., level(depth - 1) - 1.1, words + " The time branch has skip connections of its own.", ha="center",
              fontsize=8, color="0.3")
    axes.set_xlim(-1.6, 11.6)
    axes.set_ylim(level(depth - 1) - 1.4, 1.6)
    axes.axis("off")
    with beside(path) as file:
        figure.savefig(file, bbox_inches="tight", dpi=110, facecolor="white")
