"""A photograph of a part, the same photograph of the flawless part, and the mask of their difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from discrepancy.demo.light import USUAL, Light
from discrepancy.demo.part import Part
from discrepancy.demo.photograph import Setting, develop, digitise, expose, shade
from discrepancy.demo.surface import Field, Grid

SUPERSAMPLING = 1.5
VISIBLE = 12.0
"""Grey values (of 255) by which a pixel has to differ to count as defective: about what an inspector can see."""

Scene = TypeVar("Scene")


@dataclass(frozen=True)
class Picture:
    """A photograph `image` [size, size, 3] uint8 and, of a defective piece, its `mask` [size, size] bool."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None


def take(
    part: Part[Scene],
    seeds: np.random.SeedSequence,
    size: int,
    defect: str | None = None,
    *,
    light: Light = USUAL,
) -> Picture:
    """Photograph a piece of `part`, good or with one of its defects; the seeds decide all but the light.

    Equal seeds show the same piece with the same noise, and under the same light the same photograph. So a defective
    picture and the good one of the same seeds differ by the defect alone. A mask is that of the usual light: a defect
    is as large under a lamp that shows less of it.
    """
    for_scene, for_setting, for_defect, for_noise = (np.random.default_rng(child) for child in seeds.spawn(4))
    setting = Setting.draw(for_setting)
    grid = Grid.of_picture(round(size * SUPERSAMPLING))
    good = part.draw(for_scene)
    scene = good if defect is None else part.defects[defect](good, for_defect)
    surface = part.build(scene, grid)
    lit = setting.under(light)
    image = digitise(expose(shade(surface, lit), lit, size), lit, for_noise)
    if defect is None:
        return Picture(image)
    # Without cast shadows: where a nick lets light on the bench, the bench is not defective.
    seen, expected = (
        develop(expose(shade(each, setting, shadows=False), setting, size))
        for each in (surface, part.build(good, grid))
    )
    return Picture(image, visible_difference(seen, expected))


def visible_difference(seen: Field, expected: Field) -> NDArray[np.bool_]:
    """Return where two noise-free pictures [H, W, 3] (grey values 0 .. 255) differ visibly.

    Specks and pinholes are removed.
    """
    difference = np.abs(seen - expected).max(2)
    if not difference.any():
        raise RuntimeError("A defect changes no pixel of its picture; this is a fault of the renderer.")
    # In a very small picture nothing may reach the threshold: then what stands out most is the defect.
    mask = (difference > min(VISIBLE, 0.5 * difference.max())).astype(np.uint8)
    # An inspector outlines a displaced yarn or a missing strand as one spot: close gaps of up to 5 of 256 pixels.
    across = 2 * round(2.5 * len(mask) / 256) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
    return _without_specks(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc))


def _without_specks(mask: MatLike) -> NDArray[np.bool_]:
    """Drop regions far smaller than the largest, or than 3 x 3 of 256 pixels: glints and shadows that moved."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    least = max(0.05 * area.max(), 9 * mask.size / 256**2)
    return (area >= min(least, area.max()))[labels]
