"""Figure of the learnt correlations of image patches, beside their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from discrepancy.figures import page as layout
from discrepancy.figures import style
from discrepancy.figures.overlays import to_picture

_TALLEST = 240  # pixels of one picture
_HEAD = 84
_CAPTION = 20
_BRANCHES = {"intra": "intra, with this image", "inter": "inter, with the mean normal image"}


@dataclass(frozen=True)
class Patch:
    """A patch whose correlations are shown.

    Attributes:
        name: its label.
        place: row and column in the image, px.
        colour: of its mark.
    """

    name: str
    place: tuple[int, int]
    colour: str


@dataclass(frozen=True)
class Correlations:
    """Correlations of the patches with all cells of one grid; each map sums to 1.

    Attributes:
        learnt: [patches, rows, columns].
        target: [patches, rows, columns].
        divergence: between the two, [patches].
    """

    learnt: NDArray[np.floating]
    target: NDArray[np.floating]
    divergence: NDArray[np.floating]


@dataclass(frozen=True)
class Level:
    """One grid of patches.

    Attributes:
        name: of the layer.
        cells: row and column of each patch on the grid.
        branches: `intra` and `inter`, or those that were trained.
    """

    name: str
    cells: Sequence[tuple[int, int]]
    branches: Mapping[str, Correlations]


def choose_patches(anomaly_map: NDArray[np.floating], mask: NDArray[np.bool_]) -> list[Patch]:
    """Choose a good and an anomalous patch of an image.

    Args:
        anomaly_map: [H, W].
        mask: ground truth [H, W]; may be empty.

    Returns:
        The good and the anomalous patch. The anomalous one is the place of the highest score in the mask, or in the
        whole image if the mask is empty. The good one lies at least an eighth of the longer side away from the mask.
        It is opposite the other through the image's centre, so about as far from the part's border. Where that is too
        near, it is the place of the median score; where the mask leaves no such place, the farthest.
    """
    height, width = mask.shape
    inside = np.flatnonzero(mask) if mask.any() else np.arange(mask.size)
    y, x = divmod(int(inside[np.argmax(anomaly_map.ravel()[inside])]), width)
    marked = mask.copy()
    marked[y, x] = True
    distances = cv2.distanceTransform((~marked).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    far = distances >= max(mask.shape) / 8
    good = (height - 1 - y, width - 1 - x)
    if not far.any():
        good = divmod(int(distances.argmax()), width)
    elif not far[good]:
        places = np.flatnonzero(far)
        order = places[np.argsort(anomaly_map.ravel()[places], kind="stable")]
        good = divmod(int(order[len(order) // 2]), width)
    name = "anomalous patch" if mask.any() else "highest score"
    return [Patch("good patch", good, style.GOOD), Patch(name, (y, x), style.FOUND)]


def correlation_figure(
    image: NDArray[np.uint8], patches: Sequence[Patch], levels: Sequence[Level], *, title: str, subtitle: str = ""
) -> Figure:
    """Draw a row per level and patch: the patch in the photograph, then learnt correlations and targets by branch.

    Each map has its own colour scale from 0 to its highest value, which stands below it.

    Args:
        image: photograph, uint8 [3, H, W].
        patches: whose correlations are shown.
        levels: the grids, with the patches' correlations.
        title: heading of the page.
        subtitle: the line below it.

    Returns:
        A figure 1100 pixels wide. The gid of a map's axes is `<branch>-<learnt or target>-<level>-<patch>`, counted
        from 0; that of a photograph's is `photograph-<level>-<patch>`.
    """
    branches = list(levels[0].branches) if levels else []
    columns = 1 + 2 * len(branches)
    room = (layout.WIDTH - 2 * layout.MARGIN - (columns - 1) * layout.GAP) / columns
    height = min(_TALLEST, room * image.shape[1] / image.shape[2])
    width = height * image.shape[2] / image.shape[1]
    step = height + layout.LINE + _CAPTION
    page = layout.Page(_HEAD + len(levels) * (layout.SECTION + len(patches) * step) + layout.MARGIN)
    across = layout.WIDTH - 2 * layout.MARGIN
    page.write(
        layout.MARGIN, 34, style.fit(title, across, style.LARGE, bold=True), **style.text(style.LARGE, bold=True)
    )
    page.write(layout.MARGIN, 60, style.fit(subtitle, across), **style.text())
    lefts = [layout.MARGIN + column * (room + layout.GAP) for column in range(columns)]
    top: float = _HEAD
    for index, level in enumerate(levels):
        _head(page, lefts, top, level, branches)
        top += layout.SECTION
        for row, patch in enumerate(patches):
            axes = page.axes(lefts[0], top, width, height)
            axes.set_gid(f"photograph-{index}-{row}")
            _photograph(axes, image, patch)
            page.write(lefts[0], top + height + 14, patch.name, **style.text(style.SMALL, colour=patch.colour))
            for number, branch in enumerate(branches):
                found = level.branches[branch]
                for offset, name in enumerate(("learnt", "target")):
                    left = lefts[1 + 2 * number + offset]
                    axes = page.axes(left, top, width, height)
                    axes.set_gid(f"{branch}-{name}-{index}-{row}")
                    values = getattr(found, name)[row]
                    _map(axes, values, level.cells[row])
                    words = f"{name}, at most {style.number(float(values.max()))}"
                    if name == "target":
                        words += f" · J {style.number(float(found.divergence[row]))}"
                    page.write(left, top + height + 14, words, **style.text(style.SMALL, colour=style.QUIET))
            top += step
    return page.figure


def _head(page: layout.Page, lefts: Sequence[float], top: float, level: Level, branches: Sequence[str]) -> None:
    """Name a level and its columns."""
    rows, columns = next(iter(level.branches.values())).learnt.shape[1:]
    words = style.fit(f"{level.name}, {rows}x{columns} patches", lefts[1] - lefts[0] - 8, style.NORMAL, bold=True)
    page.write(lefts[0], top + 24, words, **style.text(style.NORMAL, bold=True))
    for number, branch in enumerate(branches):
        page.write(lefts[1 + 2 * number], top + 24, _BRANCHES[branch], **style.text(style.NORMAL))


def _photograph(axes: Axes, image: NDArray[np.uint8], patch: Patch) -> None:
    """Draw the photograph with a mark around the patch."""
    side = max(image.shape[1:]) / 16
    axes.imshow(to_picture(image))
    y, x = patch.place
    corner = (x - side / 2, y - side / 2)
    axes.add_patch(Rectangle(corner, side, side, facecolor="none", edgecolor="white", linewidth=3.2))
    axes.add_patch(Rectangle(corner, side, side, facecolor="none", edgecolor=patch.colour, linewidth=1.8))
    axes.set_axis_off()


def _map(axes: Axes, values: NDArray[np.floating], cell: tuple[int, int]) -> None:
    """Draw correlations [rows, columns] in colours, with a mark around the patch's own cell."""
    axes.imshow(values, cmap=style.colour_table(), vmin=0, vmax=float(values.max()) or 1.0, aspect="auto")
    corner = (cell[1] - 0.5, cell[0] - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor="white", linewidth=1.2))
    axes.set_axis_off()
