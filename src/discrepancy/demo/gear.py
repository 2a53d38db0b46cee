"""Category `gear`: a turned steel gear with five holes and a keyway, in any rotation, on a plastic tray.

The tip circle's radius is the unit of its frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from discrepancy.demo.marks import Mark
from discrepancy.demo.surface import Field, Grid, Pose, Surface, grain, polar, profile, rgb, smooth_field

TEETH = 24
ROOT, TOOTH_BASE, TOOTH_TIP = 0.84, 0.078, 0.042
RIM, HUB, BORE = 0.66, 0.37, 0.19
HOLES, HOLE_CENTRE, HOLE_RADIUS = 5, 0.515, 0.085
KEY_WIDTH, KEY_DEPTH = 0.095, 0.075
TRAY_HEIGHT, WEB_HEIGHT = -0.30, -0.05


@dataclass(frozen=True)
class Break:
    """Remains of a broken tooth: it ends at radius `top`, along a line that leans by `slant`."""

    tooth: int
    top: float
    slant: float


@dataclass(frozen=True)
class GearScene:
    """One gear in its pose."""

    pose: Pose
    tone: float
    tray: float
    turning: float
    seed: int
    drilled: tuple[bool, ...] = (True,) * HOLES
    keyway: bool = True
    broken: Break | None = None
    marks: tuple[Mark, ...] = ()


def draw(rng: np.random.Generator) -> GearScene:
    """Draw a good gear in any rotation."""
    return GearScene(
        pose=Pose(
            angle=rng.uniform(0, 2 * math.pi),
            scale=0.82 * rng.uniform(0.97, 1.03),
            shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)),
        ),
        tone=rng.uniform(0.92, 1.08),
        tray=rng.uniform(0.85, 1.15),
        turning=rng.uniform(0.7, 1.2),
        seed=int(rng.integers(2**32)),
    )


def build(scene: GearScene, picture: Grid) -> Surface:
    """Build the surface of a scene on the picture's pixels."""
    rng = np.random.default_rng(scene.seed)
    grid = picture.posed(scene.pose)
    speckle = smooth_field(rng, grid.x.shape, 0.016)
    clouds = smooth_field(rng, grid.x.shape, 0.6)
    tray = rgb((0.055, 0.095, 0.15), scene.tray) * (1 + 0.10 * speckle + 0.08 * clouds)
    surface = Surface.plain(grid, tray)
    surface.height[:] = TRAY_HEIGHT + 0.0035 * speckle
    surface.gloss[:] = 0.06

    radius, angle = polar(grid.x, grid.y)
    inside = _outline(scene, radius, angle)
    for hole in _holes(scene, grid, radius):
        inside = np.maximum(inside, -hole)
    steel, face = _turned(scene, grid, radius, inside, rng)
    surface.lay(grid.cover(inside), albedo=steel, height=face, gloss=3.0, metal=1.0)
    for mark in scene.marks:
        mark.apply(surface, grid)
    return surface


def _outline(scene: GearScene, radius: Field, angle: Field) -> Field:
    """Return the signed distance of the outline: root circle and, per sector, a tooth with straight flanks."""
    pitch = 2 * math.pi / TEETH
    tooth = np.rint(angle / pitch)
    turn = angle - pitch * tooth
    along, across = radius * np.cos(turn), radius * np.sin(turn)
    lean = math.hypot(TOOTH_BASE - TOOTH_TIP, 1 - ROOT)
    flank = (np.abs(across) - TOOTH_BASE) * (1 - ROOT) + (along - ROOT) * (TOOTH_BASE - TOOTH_TIP)
    tip = radius - 1
    if scene.broken is not None:
        rest = along - scene.broken.top - scene.broken.slant * across
        tip = np.maximum(tip, np.where(tooth % TEETH == scene.broken.tooth, rest, -1))
    return np.minimum(radius - ROOT, np.maximum(flank / lean, tip))


def _holes(scene: GearScene, grid: Grid, radius: Field) -> list[Field]:
    """Return the signed distances of bore, keyway and the holes in the web."""
    bore = radius - BORE
    if scene.keyway:
        bore = np.minimum(bore, np.maximum(np.abs(grid.y) - KEY_WIDTH / 2, np.abs(grid.x - BORE) - KEY_DEPTH))
    shapes = [bore]
    for k, drilled in enumerate(scene.drilled):
        if drilled:
            around = 2 * math.pi * (k + 0.5) / HOLES
            x, y = grid.shifted((HOLE_CENTRE * math.cos(around), HOLE_CENTRE * math.sin(around)))
            shapes.append(cv2.magnitude(x, y) - HOLE_RADIUS)
    return shapes


def _turned(
    scene: GearScene, grid: Grid, radius: Field, inside: Field, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Return colour [3, H, W] and height of the turned surface: rim and hub above the web, fine rings everywhere."""
    web = np.clip((RIM - radius) / 0.02, 0, 1) * np.clip((radius - HUB) / 0.02, 0, 1)
    rings = profile(rng, radius, 0.009)
    fine = grain(rng, grid.x, grid.y, 0.012)
    chamfer = 0.03 * np.exp(np.minimum(inside, 0) / 0.014)
    height = WEB_HEIGHT * web + 0.0020 * scene.turning * rings + 0.0006 * fine - chamfer
    clouds = smooth_field(rng, grid.x.shape, 0.3)
    steel = rgb((0.26, 0.262, 0.27), scene.tone) * (1 + 0.05 * profile(rng, radius, 0.05) + 0.05 * fine + 0.06 * clouds)
    return steel, height
