"""A page measured in pixels from its upper left corner, and where a gallery's pictures stand on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from discrepancy.figures import style

WIDTH = round(style.PAGE_WIDTH * style.DPI)
MARGIN = 22
HEAD = 112  # title, summary, legend and colour bar
COLUMNS = 22  # names of the columns
SECTION = 38  # a section's heading
LINE = 17  # a line of text above a case
GAP = 4  # between the pictures of a case
BLOCK_GAP = 30  # between cases side by side
ROW_GAP = 16  # between cases one above the other

_MOST_ACROSS = 3
_MOST_PIXELS = 2_000_000  # of all pictures on a page: more of them in a row means smaller ones
_TALLEST = 640  # pixels of one picture
_NARROW = 420  # pixels of a case: below them its text takes two lines


class Page:
    """An empty figure, width x height pixels, that places things by pixels from the upper left corner."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure: Figure = style.new_figure(style.PAGE_WIDTH, height / style.DPI)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes whose upper left corner is at (x, y)."""
        return self.figure.add_axes((x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height))

    def write(self, x: float, y: float, words: str, *, ha: str = "left", **text: Any) -> None:
        """Write one line that stands on y, starting (or, `ha="right"`, ending) at x."""
        self.figure.text(x / WIDTH, 1 - y / self.height, style.printable(words), ha=ha, va="baseline", **text)


@dataclass(frozen=True)
class Grid:
    """Places of everything in a gallery, px from the upper left corner.

    Attributes:
        across: most cases in a row.
        panels: pictures per case.
        panel_width: of a picture.
        panel_height: of a picture.
        headings: upper edge of each section.
        corners: (x, y) of each section's cases.
        height: of the page.
    """

    across: int
    panels: int
    panel_width: float
    panel_height: float
    headings: list[float]
    corners: list[list[tuple[float, float]]]
    height: float

    @property
    def block_width(self) -> float:
        """Width of one case: its pictures side by side."""
        return self.panels * (self.panel_width + GAP) - GAP

    @property
    def places(self) -> int:
        """Number of places of a row in use: fewer than `across` where all sections are short."""
        return min(self.across, max((len(corners) for corners in self.corners), default=0))

    @property
    def narrow(self) -> bool:
        """True if a case is too narrow for its name and its decision on one line."""
        return self.block_width < _NARROW

    @property
    def label_height(self) -> float:
        """Height of the text above a case."""
        return LINE * (2 if self.narrow else 1) + 4

    def block_left(self, place: int) -> float:
        """Return the left edge of the cases in the given place of a row, 0 to across - 1."""
        return MARGIN + place * (self.block_width + BLOCK_GAP)

    def panel_left(self, left: float, panel: int) -> float:
        """Return the left edge of a case's picture, counted from 0."""
        return left + panel * (self.panel_width + GAP)


def plan(sections: Sequence[tuple[int, bool]], panels: int, aspect: float) -> Grid:
    """Lay out a gallery.

    Cases stand one to a row as long as the page stays handy: its file small, its scroll short. Many cases, or tall
    pictures, stand two or three to a row.

    Args:
        sections: number of cases, and whether there is a heading, of each section.
        panels: pictures per case.
        aspect: height by width of a picture.
    """
    cases = sum(count for count, _ in sections)
    for across in range(1, _MOST_ACROSS + 1):
        room = (WIDTH - 2 * MARGIN - (across - 1) * BLOCK_GAP) / across
        width = (room - (panels - 1) * GAP) / panels
        height = min(width * aspect, _TALLEST)
        if cases * panels * width * height <= _MOST_PIXELS:
            break

    y: float = HEAD + COLUMNS
    grid = Grid(across, panels, width, height, [], [], y)
    for count, headed in sections:
        grid.headings.append(y)
        y += SECTION if headed else 0
        rows = -(-count // across)
        step = grid.label_height + height + ROW_GAP
        grid.corners.append([(grid.block_left(i % across), y + (i // across) * step) for i in range(count)])
        y += rows * step
    return Grid(across, panels, width, height, grid.headings, grid.corners, y + MARGIN - ROW_GAP)
