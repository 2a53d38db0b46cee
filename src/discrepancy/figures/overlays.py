"""Pictures of one image's result: anomaly map in colour, binary map, outline, map over the photograph.

Shapes: an image is uint8 `[3, H, W]`, a map float `[H, W]`, a mask bool `[H, W]`. A picture is uint8 `[H, W, 3]`, as
image writers and matplotlib want it.
"""

from __future__ import annotations

import cv2
import numpy as np
from contourpy import LineType, contour_generator
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from discrepancy.figures import style

Picture = NDArray[np.uint8]
Scale = tuple[float, float]

_SCALE_SAMPLES = 1_000_000


def map_scale(
    maps: NDArray[np.floating], *, threshold: float | None = None, low: float = 50.0, high: float = 99.9
) -> Scale:
    """Return the colour scale (low, high) that all maps [N, H, W] of a category share, in units of the score.

    The lower end is the median, so that ordinary surface is dark; the upper end is the 99.9th percentile, so that one
    extreme pixel does not darken all others. Both are taken over the whole category, never per image: a good part must
    not glow. Of more than a million pixels every k-th row and column counts, the same in each map.

    Args:
        maps: anomaly maps [N, H, W], raw, higher = more anomalous; may be memory-mapped.
        threshold: the pixel threshold, if known. The upper end then lies at least as far above it as the lower end
            lies below it: what is not found stays in the darker half of the colours.
        low: percentile of the lower end, 0 to 100.
        high: percentile of the upper end, 0 to 100.

    Returns:
        (low, high) with low < high, also where all maps are one constant.

    Raises:
        ValueError: no pixel, or one that is not finite.
    """
    step = max(1, int(np.ceil(np.sqrt(maps.size / _SCALE_SAMPLES))))
    sample = maps[:, ::step, ::step]
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"Anomaly maps {list(maps.shape)} have no colour scale: expected finite values, at least one.")
    bottom, top = (float(value) for value in np.percentile(sample, (low, high)))
    if top <= bottom:  # fewer than 0.1 % of the pixels differ
        top = float(sample.max())
    if threshold is not None and np.isfinite(threshold):
        top = max(top, 2.0 * float(threshold) - bottom)
    return (bottom, top) if top > bottom else (bottom, bottom + max(1.0, abs(bottom)))


def to_picture(image: NDArray[np.uint8]) -> Picture:
    """Return an image [3, H, W] as a picture [H, W, 3] (a view, nothing is copied)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"Expected an image uint8 [3, H, W], found {image.dtype} {list(image.shape)}.")
    return image.transpose(1, 2, 0)


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask's own pixels [H, W] that touch, by a side, a pixel outside it; the image border is outside."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return mask & (inside == 0)


def outline(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], *, colour: str = style.FOUND, thickness: int = 1
) -> Picture:
    """Return the photograph with the mask's boundary drawn in one colour.

    Args:
        image: photograph uint8 [3, H, W].
        mask: what to outline, bool [H, W].
        colour: any matplotlib colour.
        thickness: width of the line in pixels; a wider line grows to both sides of the boundary.

    Returns:
        Picture uint8 [H, W, 3], a copy.
    """
    line = boundary(mask)
    if thickness > 1:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness))
        line = cv2.dilate(line.astype(np.uint8), brush) > 0
    picture = to_picture(image).copy()
    picture[line] = _bytes(colour)
    return picture


def score_picture(anomaly_map: NDArray[np.floating], *, scale: Scale) -> Picture:
    """Return a map [H, W] in colours from dark (`low`) to bright (`high`); beyond the scale the end colours stay.

    The scale is the category's, from `map_scale`, so that pictures of one category compare.
    """
    colours: Picture = style.colour_table()(_shares(anomaly_map, scale), bytes=True)[..., :3]
    return colours


def binary_picture(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a mask [H, W] as a grey picture uint8 [H, W]: 255 in the mask, 0 elsewhere."""
    return mask.astype(np.uint8) * np.uint8(255)


def heat_picture(
    image: NDArray[np.uint8], anomaly_map: NDArray[np.floating], *, scale: Scale, opacity: float = 0.6
) -> Picture:
    """Return the map [H, W] in colours over the photograph [3, H, W], the more opaque the higher the score.

    At `low` the photograph alone shows; at `high` and above the colour covers it with the given opacity, 0 to 1.
    """
    weights = _shares(anomaly_map, scale)[..., None] * opacity
    mixed = to_picture(image) * (1.0 - weights) + score_picture(anomaly_map, scale=scale) * weights
    return np.rint(mixed).astype(np.uint8)


def truth_picture(image: NDArray[np.uint8], mask: NDArray[np.bool_], *, colour: str = style.TRUTH) -> Picture:
    """Return the photograph [3, H, W] in pale grey with the ground truth [H, W] filled in colour."""
    grey = cv2.cvtColor(to_picture(image), cv2.COLOR_RGB2GRAY)
    pale = cv2.addWeighted(grey, 0.6, grey, 0.0, 80.0)
    picture = np.repeat(np.asarray(pale, dtype=np.uint8)[..., None], 3, axis=2)
    picture[mask] = np.rint(0.35 * picture[mask] + 0.65 * np.array(_bytes(colour))).astype(np.uint8)
    return picture


def contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the closed lines [K, 2] of (x, y) around a mask [H, W], outer borders and holes alike.

    A pixel's centre lies at its column and row plus 0.5, so lines fit a picture that spans 0..W and 0..H. They run half
    way between pixels inside and outside: filled by the even-odd rule they give the mask back.
    """
    if not mask.any():
        return []
    padded = np.pad(mask, 1).astype(np.float64)
    lines = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    return [np.asarray(line) - 0.5 for line in lines]


def _shares(anomaly_map: NDArray[np.floating], scale: Scale) -> NDArray[np.float64]:
    """Return where on the scale each score lies, 0 at its lower end or below, 1 at its upper end or above."""
    low, high = scale
    # In double precision: a scale that is narrow and far from zero would vanish in single precision.
    return np.clip((anomaly_map.astype(np.float64) - low) / (high - low), 0.0, 1.0)


def _bytes(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue
