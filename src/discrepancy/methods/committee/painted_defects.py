"""Defects painted on photographs of good parts, to choose between detectors without a photograph of a real one.

None has the form of the strokes that DFC trains with, though a fill has a colour as theirs may have.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("scratch", "crack", "fill", "patch", "warp", "tone", "blur")
"""Kinds of defects. A crack is a long dark line; a fill is an area in the colour of another place, as where material is
missing; a patch is a displaced piece of the image."""

SMALLEST = 64
"""Shorter side of an image, px, that a defect has room in."""

SIZES = (4.0, 40.0)
"""Smallest and largest half axis of an ellipse, px, in an image whose shorter side has 256 px."""

VISIBLE = 8.0
"""Mean change of a defect's pixels, grey levels, below which another one is drawn."""

_TRIES = 10

Rows = NDArray[Any]


def paint_defect(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint one defect of a random kind, size and place.

    Ellipses have half axes of 4 to 40 px, small ones more often (log-uniform). Scratches are up to 70 px long, cracks
    up to 240 px. These lengths hold for an image whose shorter side has 256 px, and scale with it. Lines are 1 to 5 px
    wide. A defect that would hardly show, such as a blur of an even background, is drawn again: ten times at most.

    Args:
        image: uint8 [3, H, W], RGB.
        rng: the source of every draw.

    Returns:
        A copy with the defect, uint8 [3, H, W], and its mask, bool [H, W].
    """
    kind = str(rng.choice(KINDS))
    rows = np.ascontiguousarray(image.astype(np.float32).transpose(1, 2, 0))
    for _ in range(_TRIES):
        painted, mask = _painted(kind, rows, rng)
        if np.abs(painted - rows).mean(2)[mask].mean() >= VISIBLE:
            break
    return painted.astype(np.uint8).transpose(2, 0, 1), mask


def _painted(kind: str, rows: Rows, rng: np.random.Generator) -> tuple[Rows, NDArray[np.bool_]]:
    """Return the image [H, W, 3] with a defect of one kind, rounded grey levels 0 to 255, and the defect's mask."""
    height, width = rows.shape[:2]
    start = int(rng.integers(8, width - 8)), int(rng.integers(8, height - 8))
    scale = min(height, width) / 256
    if kind == "scratch":
        soft = _line((height, width), start, 6 * scale, int(rng.integers(4, 12)), int(rng.integers(1, 4)), rng)
    elif kind == "crack":
        soft = _line((height, width), start, 6 * scale, int(rng.integers(10, 40)), int(rng.integers(1, 6)), rng)
    else:
        soft = _ellipse((height, width), start, scale, rng)
    painted = rows + soft[..., None] * (_PAINTERS[kind](rows, rng) - rows)
    return np.clip(painted, 0, 255).round(), soft > 0.3


def _line(
    size: tuple[int, int], start: tuple[int, int], step: float, steps: int, wide: int, rng: np.random.Generator
) -> Rows:
    """Return the opacity [H, W] of a bent line of so many steps."""
    soft = np.zeros(size, np.float32)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.4, steps))
    moves = step * np.stack([np.cos(angles), np.sin(angles)], 1)
    points = np.round(np.array(start) + np.vstack([np.zeros((1, 2)), np.cumsum(moves, 0)])).astype(np.int32)
    cv2.polylines(soft, [points], False, (1.0,), wide, cv2.LINE_AA)
    return cv2.GaussianBlur(soft, (0, 0), 0.6)


def _ellipse(size: tuple[int, int], centre: tuple[int, int], scale: float, rng: np.random.Generator) -> Rows:
    """Return the opacity [H, W] of an ellipse with a soft border."""
    soft = np.zeros(size, np.float32)
    low, high = np.log(SIZES)
    axes = (int(np.exp(rng.uniform(low, high)) * scale) + 1, int(np.exp(rng.uniform(low, high)) * scale) + 1)
    cv2.ellipse(soft, centre, axes, float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
    return cv2.GaussianBlur(soft, (0, 0), 1.0)


def _other_tone(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows * np.float32(1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.4))


def _other_place(rows: Rows, rng: np.random.Generator) -> Rows:
    height, width = rows.shape[:2]
    return np.roll(rows, (int(rng.integers(20, height - 20)), int(rng.integers(20, width - 20))), (0, 1))


def _other_colour(rows: Rows, rng: np.random.Generator) -> Rows:
    height, width = rows.shape[:2]
    return np.broadcast_to(rows[int(rng.integers(height)), int(rng.integers(width))], rows.shape)


def _warped(rows: Rows, rng: np.random.Generator) -> Rows:
    dx, dy = (np.float32(v) for v in rng.uniform(-8, 8, 2))
    grid_y, grid_x = np.mgrid[: rows.shape[0], : rows.shape[1]].astype(np.float32)
    return cv2.remap(rows, grid_x + dx, grid_y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


_PAINTERS = {
    "scratch": lambda rows, rng: np.full_like(rows, rows.mean() + rng.choice([-1, 1]) * rng.uniform(30, 80)),
    "crack": lambda rows, rng: rows * np.float32(rng.uniform(0.2, 0.7)),
    "fill": _other_colour,
    "patch": _other_place,
    "warp": _warped,
    "tone": _other_tone,
    "blur": lambda rows, rng: cv2.GaussianBlur(rows, (0, 0), 4),
}
