"""Defects painted on photographs of good parts, to choose between detectors without a photograph of a real one.

None of them is among the corruptions that DFC trains with.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("scratch", "patch", "warp", "tone", "blur")
"""A line of another brightness, a displaced piece of the image, a distortion, a change of brightness, a blur."""

SMALLEST = 64
"""Shorter side of an image, px, that a defect has room in."""

Rows = NDArray[Any]


def paint_defect(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint one defect of a random kind, size and place.

    Sizes are some 5 to 18 px (scratches: up to 70 px long and 3 px wide) in an image whose shorter side has 256 px, and
    scale with it.

    Args:
        image: uint8 [3, H, W], RGB.
        rng: the source of every draw.

    Returns:
        A copy with the defect, uint8 [3, H, W], and its mask, bool [H, W].
    """
    height, width = image.shape[1:]
    kind = str(rng.choice(KINDS))
    y, x = int(rng.integers(8, height - 8)), int(rng.integers(8, width - 8))
    scale = min(height, width) / 256
    rows = np.ascontiguousarray(image.astype(np.float32).transpose(1, 2, 0))
    if kind == "scratch":
        soft = _line(rows.shape[:2], (x, y), scale, rng)
        other = np.full_like(rows, rows.mean() + rng.choice([-1, 1]) * rng.uniform(30, 80))
    else:
        soft = _ellipse(rows.shape[:2], (x, y), scale, rng)
        other = _changed(kind, rows, rng)
    painted = rows + soft[..., None] * (other - rows)
    return np.clip(painted, 0, 255).round().astype(np.uint8).transpose(2, 0, 1), soft > 0.3


def _line(size: Any, start: tuple[int, int], scale: float, rng: np.random.Generator) -> Rows:
    """Return the opacity [H, W] of a bent line."""
    soft = np.zeros(size, np.float32)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.4, rng.integers(4, 12)))
    steps = 6 * scale * np.stack([np.cos(angles), np.sin(angles)], 1)
    points = np.round(np.array(start) + np.vstack([np.zeros((1, 2)), np.cumsum(steps, 0)])).astype(np.int32)
    cv2.polylines(soft, [points], False, (1.0,), int(rng.integers(1, 4)), cv2.LINE_AA)
    return cv2.GaussianBlur(soft, (0, 0), 0.6)


def _ellipse(size: Any, centre: tuple[int, int], scale: float, rng: np.random.Generator) -> Rows:
    """Return the opacity [H, W] of an ellipse with a soft border."""
    soft = np.zeros(size, np.float32)
    axes = (int(rng.integers(5, 18) * scale) + 1, int(rng.integers(5, 18) * scale) + 1)
    cv2.ellipse(soft, centre, axes, float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
    return cv2.GaussianBlur(soft, (0, 0), 1.0)


def _changed(kind: str, rows: Rows, rng: np.random.Generator) -> Rows:
    """Return the pixels [H, W, 3] that show inside the defect."""
    height, width = rows.shape[:2]
    if kind == "patch":
        return np.roll(rows, (int(rng.integers(20, height - 20)), int(rng.integers(20, width - 20))), (0, 1))
    if kind == "blur":
        return cv2.GaussianBlur(rows, (0, 0), 4)
    if kind == "tone":
        return rows * np.float32(1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.4))
    dx, dy = (np.float32(v) for v in rng.uniform(-8, 8, 2))
    grid_y, grid_x = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(rows, grid_x + dx, grid_y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
