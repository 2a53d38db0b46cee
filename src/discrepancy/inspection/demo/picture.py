"""One photograph of a part, with the same photograph of the flawless part and the mask of what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from discrepancy.inspection.demo.part import Part
from discrepancy.inspection.demo.photograph import Setting, develop, digitise, expose, shade
from discrepancy.inspection.demo.surface import Field, Grid

SUPERSAMPLING = 1.5
VISIBLE = 12.0
"""Grey values (of 255) by which a pixel has to differ to count as defective: about what an inspector can see."""

Scene = TypeVar("Scene")


@dataclass(frozen=True)
class Picture:
    """`image` [size, size, 3] uint8. A defective one also has `flawless` (same scene, light and noise; same shape)
    and `mask` [size, size] bool: the pixels that visibly differ.
    """

    image: NDArray[np.uint8]
    flawless: NDArray[np.uint8] | None = None
    mask: NDArray[np.bool_] | None = None


def take(part: Part[Scene], seeds: np.random.SeedSequence, size: int, defect: str | None = None) -> Picture:
    """Photograph a piece of `part`, good or with one of its defects; the seeds decide everything else."""
    for_scene, for_setting, for_defect, for_noise = seeds.spawn(4)
    scene = part.draw(np.random.default_rng(for_scene))
    setting = Setting.draw(np.random.default_rng(for_setting))

    def sensed(scene: Scene) -> Field:
        grid = Grid.of_picture(round(size * SUPERSAMPLING))
        return expose(shade(part.build(scene, grid), setting), setting, size)

    def digital(picture: Field) -> NDArray[np.uint8]:
        return digitise(picture, setting, np.random.default_rng(for_noise))

    good = sensed(scene)
    if defect is None:
        return Picture(digital(good))
    bad = sensed(part.defects[defect](scene, np.random.default_rng(for_defect)))
    return Picture(digital(bad), digital(good), visible_difference(develop(bad), develop(good)))


def visible_difference(bad: Field, good: Field) -> NDArray[np.bool_]:
    """Where two noise-free pictures [H, W, 3] (grey values 0 .. 255) differ visibly, without specks and pinholes."""
    difference = np.abs(bad - good).max(2)
    mask = (difference > VISIBLE).astype(np.uint8)
    if not mask.any():
        mask = (difference >= 0.5 * difference.max()).astype(np.uint8)
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
