"""Single decisions on a page: photograph with the detected outline, anomaly map and ground truth, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from discrepancy.figures import style
from discrepancy.figures.cases import verdict
from discrepancy.figures.html import html_file, render
from discrepancy.figures.jpeg import jpegs, within
from discrepancy.figures.overlays import Picture, Scale, map_scale, outline, score_picture, truth_picture

_SIDE = 560
"""Longest side of a picture, px."""
_LINE = 220
"""Longest side, px, at which the outline is one pixel wider."""
_STEPS = 8
"""Colours that stand for the scale."""


def decisions(  # noqa: PLR0913 (all that is known about a test set comes together here)
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    maps: NDArray[np.floating],
    samples: pd.DataFrame,
    cases: Sequence[int],
    *,
    found: Sequence[NDArray[np.bool_]],
    level: float,
    image_threshold: float,
    most: int = 2_400_000,
) -> Markup:
    """Return a list of decisions as HTML, with the scale of the maps' colours; the pictures are inside.

    The arrays may be memory-mapped: besides the colour scale only the chosen cases are read.

    Args:
        images: test images, uint8 [N, 3, H, W].
        masks: ground truth, bool [N, H, W].
        maps: raw anomaly maps, float [N, H, W], higher = more anomalous.
        samples: one row per image: `image` (path), `label` (0 good, 1 anomalous), `defect` (kind), `score`.
        cases: positions of the decisions in the arrays, in the order of the list.
        found: pixels to be outlined, for each image bool [H, W].
        level: anomaly at which outlines are drawn, marked on the scale of colours.
        image_threshold: images above it are called anomalous.
        most: bytes of all pictures together; they are made smaller until they fit.
    """
    scale = map_scale(maps, threshold=level)
    views = [
        within(view, _SIDE) for i in cases for view in _views(np.asarray(images[i]), masks[i], maps[i], found[i], scale)
    ]
    files = jpegs(views, most=most)
    rows = []
    for row, i in enumerate(cases):
        line = samples.iloc[i]
        label, score = int(line["label"]), float(line["score"])
        anomalous = score > image_threshold
        names = ("Photograph, detected outline", "Anomaly map", _truth(label, bool(masks[i].any())))
        rows.append(
            {
                "file": str(line["image"]),
                "kind": str(line["defect"]),
                "score": style.number(score),
                "verdict": verdict(label, anomalous),
                "right": anomalous == bool(label),
                "views": [
                    (name, html_file(content, f"{name} of {line['image']}"))
                    for name, content in zip(names, files[3 * row : 3 * row + 3], strict=True)
                ],
            }
        )
    return render(
        "decisions.html",
        rows=rows,
        low=style.number(scale[0]),
        high=style.number(scale[1]),
        level=style.number(level),
        place=round(100 * (level - scale[0]) / (scale[1] - scale[0])),
        colours=", ".join(_colour(step / (_STEPS - 1)) for step in range(_STEPS)),
    )


def _views(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    anomaly_map: NDArray[np.floating],
    found: NDArray[np.bool_],
    scale: Scale,
) -> tuple[Picture, Picture, Picture]:
    thickness = 2 + max(image.shape) // _LINE // 2
    outlined = outline(image, found, thickness=thickness)
    return outlined, score_picture(anomaly_map, scale=scale), truth_picture(image, mask)


def _truth(label: int, marked: bool) -> str:
    """Return what the picture of the ground truth shows."""
    if marked:
        return "Ground truth"
    return "Ground truth: not marked" if label else "Ground truth: good"


def _colour(share: float) -> str:
    red, green, blue = (round(255 * part) for part in style.colour_table()(share)[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"
