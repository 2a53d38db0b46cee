"""The contact sheet: small photographs of every kind side by side, with what is marked in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from discrepancy.figures import page as layout
from discrepancy.figures import style
from discrepancy.figures.overlays import Picture, outline

Tile = tuple[str, str, Picture, NDArray[np.bool_] | None]
"""Path, a few words, the picture uint8 [h, w, 3], and what is marked in it, bool [h, w], or None."""

ACROSS = 6
_GAP = 8
_BOX = (layout.WIDTH - 2 * layout.MARGIN - (ACROSS - 1) * _GAP) / ACROSS
_HEAD = 78


def contact_sheet(sections: Mapping[str, Sequence[Tile]], *, title: str, subtitle: str = "") -> Figure:
    """Draw small photographs under headings, six to a row, each with its name and a few words.

    Args:
        sections: photographs by heading; a heading without any is left out.
        title: of the sheet.
        subtitle: a line below the title.

    Returns:
        A figure 1100 pixels wide.
    """
    shown = {heading: list(tiles) for heading, tiles in sections.items() if tiles}
    rows = [
        (heading if first == 0 else "", tiles[first : first + ACROSS])
        for heading, tiles in shown.items()
        for first in range(0, len(tiles), ACROSS)
    ]
    sheet = layout.Page(_HEAD + sum(_height(heading, tiles) for heading, tiles in rows) + layout.MARGIN)
    room = layout.WIDTH - 2 * layout.MARGIN
    heading_text, name_text = style.text(style.LARGE, bold=True), style.text(style.SMALL - 1, colour=style.QUIET)
    sheet.write(layout.MARGIN, 34, style.fit(title, room, style.LARGE, bold=True), **heading_text)
    sheet.write(layout.MARGIN, 60, style.fit(subtitle, room, style.NORMAL), **style.text())
    y: float = _HEAD
    for heading, tiles in rows:
        top = y
        if heading:
            sheet.write(layout.MARGIN, y + 22, style.fit(heading, room, bold=True), **style.text(bold=True))
            top += layout.SECTION
        for place, (name, words, picture, mask) in enumerate(tiles):
            x = layout.MARGIN + place * (_BOX + _GAP)
            height, width = (side * _scale(picture) for side in picture.shape[:2])
            axes = sheet.axes(x, top, width, height)
            axes.set_axis_off()
            axes.imshow(_marked(picture, mask), extent=(0, width, height, 0), aspect="auto")
            below = top + _tallest(tiles) + layout.LINE - 3
            sheet.write(x, below, style.fit(PurePosixPath(name).name, _BOX, style.SMALL - 1), **name_text)
            if words:
                colour = style.text(style.SMALL - 1, colour=style.WRONG, bold=True)
                sheet.write(x, below + layout.LINE, style.fit(words, _BOX, style.SMALL - 1, bold=True), **colour)
        y += _height(heading, tiles)
    return sheet.figure


def _scale(picture: Picture) -> float:
    return _BOX / max(picture.shape[:2])


def _tallest(tiles: Sequence[Tile]) -> float:
    return max(picture.shape[0] * _scale(picture) for _, _, picture, _ in tiles)


def _height(heading: str, tiles: Sequence[Tile]) -> float:
    """Return the height of a row, px: its heading if it has one, its pictures, and the lines below them."""
    lines = 2 if any(words for _, words, _, _ in tiles) else 1
    return (layout.SECTION if heading else 0) + _tallest(tiles) + lines * layout.LINE + _GAP


def _marked(picture: Picture, mask: NDArray[np.bool_] | None) -> Picture:
    if mask is None or not mask.any():
        return picture
    return outline(picture.transpose(2, 0, 1), mask, colour=style.TRUTH)
