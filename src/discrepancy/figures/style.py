"""Style of all figures: resolution, colours that colour-blind readers can tell apart, and type.

Everything is set on the figure itself, never in matplotlib's global settings. So a figure looks the same in a
notebook, in a pipeline and on a machine with its own `matplotlibrc`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, get_hinting_flag
from matplotlib.figure import Figure

from discrepancy.figures.fonts import FAMILY, families, font_of

DPI = 110
PAGE_WIDTH = 10.0  # inches: 1100 pixels, still legible when shown at 1000

# Okabe and Ito's palette (2008), made for readers with any kind of colour vision.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)

INK = "#222222"
QUIET = "#666666"
FAINT = "#D9D9D9"

GOOD, ANOMALOUS = BLUE, ORANGE  # the two kinds of parts
RIGHT, WRONG = BLUE, VERMILLION  # the two kinds of decisions
TRUTH, FOUND = SKY, VERMILLION  # the two kinds of outlines
MAP_COLOURS = "inferno"

SMALL, NORMAL, LARGE = 8.5, 10.0, 13.0  # points


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of width x height inches that belongs to no window and no global list."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def text(size: float = NORMAL, *, colour: str = INK, bold: bool = False) -> dict[str, Any]:
    """Return keyword arguments for anything that writes text.

    Mathematics is off: file and folder names may hold a `$`, and half a formula would be an error.
    """
    weight = "bold" if bold else "normal"
    return {"family": list(families()), "size": size, "color": colour, "weight": weight, "parse_math": False}


def dress(axes: Axes, *, title: str, x: str, y: str) -> None:
    """Give axes their title, axis labels and the common look."""
    axes.set_title(printable(title), loc="left", pad=10, wrap=True, **text(NORMAL + 1, bold=True))
    axes.set_xlabel(printable(x), **text())
    axes.set_ylabel(printable(y), **text())
    axes.tick_params(labelsize=SMALL, labelfontfamily=FAMILY, colors=QUIET, labelcolor=INK)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(QUIET)


def add_legend(axes: Axes, *, loc: Literal["best", "lower right", "upper left", "upper right"] = "best") -> None:
    """Add a legend of the labelled artists, in the common type."""
    legend = axes.legend(loc=loc, frameon=True, framealpha=0.9, edgecolor=FAINT, facecolor="white")
    for entry in legend.get_texts():
        entry.set(**text(SMALL + 0.5))


def say(axes: Axes, message: str) -> None:
    """Write a message in the middle of axes that have nothing else to show."""
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    middle: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center", "bbox": box}
    axes.text(0.5, 0.5, printable(message), **middle, **text(SMALL, colour=INK))


@cache
def colour_table() -> Any:
    """Return the colours of anomaly maps, a matplotlib `Colormap` from low to high."""
    return matplotlib.colormaps[MAP_COLOURS]


def printable(words: object) -> str:
    """Return the words with each character that no font has as its escape (`\\u90e8`): no name can cause a warning."""
    return "".join(c if c == "\n" or font_of(c) else _escape(c) for c in str(words))


def one_line(words: object) -> str:
    """Return the words as `printable` does, line breaks escaped as well: names may hold them."""
    return printable(words).replace("\n", "\\n")


def shorten(words: str, width: int) -> str:
    """Return the words cut in the middle to at most width characters: a file name tells most at its two ends."""
    if len(words) <= width:
        return words
    head = max(0, (width - 1) // 2)
    tail = max(0, width - 1 - head)
    return words[:head] + "…" + words[len(words) - tail :]


def width(words: str, size: float = NORMAL, *, bold: bool = False) -> float:
    """Return how many pixels wide the words are in the figures' font, size in points."""
    return sum(_advance(character, size, bold) for character in printable(words))


def fit(words: str, pixels: float, size: float = NORMAL, *, bold: bool = False) -> str:
    """Return the words on one line, shortened in the middle as far as needed to be at most so many pixels wide."""
    words = one_line(words)
    for length in range(len(words), 1, -1):
        short = shorten(words, length)
        if width(short, size, bold=bold) <= pixels:
            return short
    return "…"


def number(value: float) -> str:
    """Return a number with three significant digits, without an exponent where it stays short."""
    if math.isnan(value):
        return "-"
    size = abs(value)
    if size and (size < 0.001 or size >= 1e6):
        return f"{value:.2e}"
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:.{decimals}f}"


def share(value: float) -> str:
    """Return a metric between 0 and 1 with three decimals."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


@cache
def _advance(character: str, size: float, bold: bool) -> float:
    font = font_of(character, bold=bold) or font_of("?", bold=bold)
    font.set_size(size, DPI)
    glyph = font.load_char(ord(character), flags=get_hinting_flag())  # as it will be drawn, rounding included
    return float(glyph.horiAdvance) / 64  # FreeType's 26.6 fixed point
