"""The gallery: what a category's best and worst cases look like, on one page and on one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from discrepancy.figures import page as layout
from discrepancy.figures import style
from discrepancy.figures.cases import Section, choose_cases, found_anomalous, summary, verdict
from discrepancy.figures.overlays import Scale, contours, map_scale, to_picture, truth_picture

__all__ = ["Section", "choose_cases", "gallery", "map_scale"]

_COLUMNS = {"photograph": "Photograph", "truth": "Ground truth", "map": "Anomaly map", "found": "Found"}
_SHORT_COLUMNS = {"photograph": "Photograph", "truth": "Truth", "map": "Map", "found": "Found"}
_BAR_WIDTH = 280  # pixels


def gallery(  # noqa: PLR0913 (all that is known about a test set comes together here, and only here)
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_] | None,
    maps: NDArray[np.floating],
    samples: pd.DataFrame,
    *,
    found: Sequence[NDArray[np.bool_]],
    level: float,
    image_threshold: float,
    sections: Sequence[Section] | None = None,
    scale: Scale | None = None,
    title: str = "Test images",
) -> Figure:
    """Draw chosen cases of a test set: photograph, ground truth, anomaly map and found outline beside each other.

    All maps have one colour scale. Many cases, or tall images, stand two or three to a row. The arrays may be
    memory-mapped: besides the colour scale only the chosen cases are read.

    Args:
        images: the category's test images, uint8 [N, 3, H, W].
        masks: ground truth, bool [N, H, W]; None leaves its column out.
        maps: raw anomaly maps, float [N, h, w], higher = more anomalous, of the images' size or another.
        samples: one row per image in the arrays' order, with columns `image` (path), `label` (0 good, 1 anomalous),
            `defect` (kind) and `score` (of the image). The index does not matter.
        found: pixels to be outlined, for each image bool [h, w].
        level: anomaly at which outlines are drawn, marked on the scale of colours.
        image_threshold: images above it are called anomalous.
        sections: the cases to show; those of `choose_cases` unless given.
        scale: (low, high) of the colours; `map_scale` of all maps and `level` unless given.
        title: heading of the page.

    Returns:
        A figure 1100 pixels wide. The gid of a picture's axes is `photograph-`, `truth-`, `map-` or `found-` and the
        case's position in the arrays.

    Raises:
        ValueError: the arrays and the table do not belong together.
    """
    _check(images, masks, maps, samples)
    if len(found) != len(samples):
        raise ValueError(f"Expected the outlines of {len(samples)} images, found {len(found)}.")
    labels, scores = samples["label"].to_numpy(), samples["score"].to_numpy(dtype=np.float64)
    anomalous = found_anomalous(scores, image_threshold)
    if sections is None:
        sections = choose_cases(scores, labels, threshold=image_threshold)
    columns = [column for column in _COLUMNS if column != "truth" or masks is not None]

    counts = [(len(section.cases), bool(section.heading)) for section in sections]
    grid = layout.plan(counts, len(columns), images.shape[2] / images.shape[3])
    scale = scale or map_scale(maps, threshold=level)
    sheet = _Sheet(layout.Page(grid.height), grid, columns, scale, level)
    sheet.head(title, f"{summary(labels, anomalous)} Defective means a score above {style.number(image_threshold)}.")
    for section, top, corners in zip(sections, grid.headings, grid.corners, strict=True):
        sheet.heading(section.heading, top)
        for i, corner in zip(section.cases, corners, strict=True):
            name, kind = PurePosixPath(str(samples["image"].iloc[i])).name, str(samples["defect"].iloc[i])
            case = _Case(i, corner, name, kind, int(labels[i]), float(scores[i]), bool(anomalous[i]))
            sheet.label(case)
            sheet.pictures(case, images[i], None if masks is None else masks[i], maps[i], found[i])
    return sheet.page.figure


@dataclass(frozen=True)
class _Case:
    """One case of the gallery: where it stands, what it is and what was decided."""

    position: int
    corner: tuple[float, float]
    name: str
    kind: str
    label: int
    score: float
    found: bool


@dataclass(frozen=True)
class _Sheet:
    """The page while it is drawn, and what all its cases share."""

    page: layout.Page
    grid: layout.Grid
    columns: list[str]
    scale: Scale
    level: float

    def head(self, title: str, subtitle: str) -> None:
        """Write title and summary, explain the outlines, draw the colour bar and name the columns."""
        left, right, page = layout.MARGIN, layout.WIDTH - layout.MARGIN, self.page
        page.write(
            left, 34, style.fit(title, right - left, style.LARGE, bold=True), **style.text(style.LARGE, bold=True)
        )
        page.write(left, 60, subtitle, **style.text())
        keys = [(style.FOUND, f"detected region, outlined at {style.number(self.level)}")]
        if "truth" in self.columns:
            keys.insert(0, (style.TRUTH, "ground truth"))
        x: float = left
        for colour, words in keys:
            box = page.axes(x, 80, 13, 13)
            box.set_axis_off()
            box.add_patch(Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=colour, linewidth=3))
            page.write(x + 20, 91, words, **style.text(style.SMALL))
            x += 44 + style.width(words, style.SMALL)

        page.write(right - _BAR_WIDTH - 12, 91, "anomaly score", ha="right", **style.text(style.SMALL))
        cax = page.axes(right - _BAR_WIDTH, 80, _BAR_WIDTH, 13)
        colours = ScalarMappable(Normalize(*self.scale), style.colour_table())
        bar = page.figure.colorbar(colours, cax=cax, orientation="horizontal", extend="both")
        bar.outline.set_visible(False)
        cax.set_gid("scale")
        cax.tick_params(labelsize=style.SMALL, labelfontfamily=style.FAMILY, length=2, pad=1)
        if self.scale[0] < self.level < self.scale[1]:
            cax.axvline(self.level, color="white", linewidth=3.5)
            cax.axvline(self.level, color=style.FOUND, linewidth=2)

        names = _SHORT_COLUMNS if self.grid.narrow else _COLUMNS
        for place in range(self.grid.places):
            for panel, column in enumerate(self.columns):
                x = self.grid.panel_left(self.grid.block_left(place), panel)
                page.write(x, layout.HEAD + 15, names[column], **style.text(style.SMALL, colour=style.QUIET))

    def heading(self, words: str, top: float) -> None:
        """Write a section's heading over a thin line."""
        if words:
            self.page.write(layout.MARGIN, top + 24, words, **style.text(style.NORMAL, bold=True))
            line = self.page.axes(layout.MARGIN, top + 1, layout.WIDTH - 2 * layout.MARGIN, 1)
            line.set(facecolor=style.FAINT, xticks=[], yticks=[])
            line.spines[:].set_visible(False)

    def label(self, case: _Case) -> None:
        """Write the line above a case: file and kind of defect on the left, score and decision on the right."""
        x, y = case.corner[0], case.corner[1] + layout.LINE - 3
        decision = f"score {style.number(case.score)} · {verdict(case.label, case.found)}"
        room = self.grid.block_width
        if not self.grid.narrow:
            room -= style.width(decision, style.SMALL, bold=True) + 16
        kind = f" · {style.fit(case.kind, 0.45 * room, style.SMALL)}"
        name = style.fit(case.name, room - style.width(kind, style.SMALL), style.SMALL) + kind
        self.page.write(x, y, name, **style.text(style.SMALL))
        colour = style.RIGHT if case.found == bool(case.label) else style.WRONG
        text = style.text(style.SMALL, colour=colour, bold=True)
        if self.grid.narrow:
            self.page.write(x, y + layout.LINE, decision, **text)
        else:
            self.page.write(x + self.grid.block_width, y, decision, ha="right", **text)

    def pictures(
        self,
        case: _Case,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_] | None,
        anomaly_map: NDArray[np.floating],
        found: NDArray[np.bool_],
    ) -> None:
        """Draw a case's pictures beside each other."""
        size = image.shape[1:]
        photograph = self._shrink(to_picture(image))
        for panel, column in enumerate(self.columns):
            x, y = self.grid.panel_left(case.corner[0], panel), case.corner[1] + self.grid.label_height
            axes = self.page.axes(x, y, self.grid.panel_width, self.grid.panel_height)
            axes.set_gid(f"{column}-{case.position}")
            axes.set_axis_off()
            if column == "map":
                self._show(axes, self._shrink(anomaly_map), size)
            elif column == "truth" and mask is not None:
                self._show(axes, self._shrink(truth_picture(image, mask)), size)
                _draw_outline(axes, mask, size, style.TRUTH)
                if not mask.any():
                    style.say(axes, "no mask" if case.label else "good part")
            else:
                self._show(axes, photograph, size)
                if column == "found":
                    _draw_outline(axes, found, size, style.FOUND)

    def _shrink(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a picture or map made smaller where it has over twice as many pixels across as the page shows."""
        limit = 2 * self.grid.panel_width
        if picture.shape[1] <= limit:
            return picture
        size = (round(limit), max(1, round(limit * picture.shape[0] / picture.shape[1])))
        smaller: NDArray[np.generic] = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
        return smaller

    def _show(self, axes: Axes, picture: NDArray[np.generic], size: tuple[int, ...]) -> None:
        """Show a picture or map on axes that span the image's height x width."""
        height, width = size
        low, high = self.scale
        axes.imshow(
            picture, cmap=style.colour_table(), vmin=low, vmax=high, extent=(0, width, height, 0), aspect="equal"
        )


def _draw_outline(axes: Axes, mask: NDArray[np.bool_], size: tuple[int, ...], colour: str) -> None:
    """Draw the border of a mask [h, w] on axes that span height x width, over a light line that sets it off."""
    stretch = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    lines = [line * stretch for line in contours(mask)]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=2.6, alpha=0.8), autolim=False)
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=1.4, gid="outline"), autolim=False)


def _check(
    images: NDArray[np.uint8], masks: NDArray[np.bool_] | None, maps: NDArray[np.floating], samples: pd.DataFrame
) -> None:
    count = len(samples)
    if images.ndim != 4 or images.shape[1] != 3 or maps.ndim != 3 or not count == len(images) == len(maps) > 0:
        raise ValueError(
            f"Expected images [N, 3, H, W], maps [N, h, w] and N > 0 rows of samples, "
            f"found {list(images.shape)}, {list(maps.shape)} and {count} rows."
        )
    if masks is not None and masks.shape != (count, *images.shape[2:]):
        raise ValueError(f"Expected masks {[count, *images.shape[2:]]}, found {list(masks.shape)}.")
    missing = {"image", "label", "defect", "score"} - set(samples.columns)
    if missing:
        raise ValueError(f"The samples lack the columns {sorted(missing)}; they have {list(samples.columns)}.")
