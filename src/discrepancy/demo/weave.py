"""Category `weave`: a 2/2 twill cloth of blue warp and cream weft, a texture that fills the picture.

The frame's unit is half the picture's width, as in the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discrepancy.demo.marks import Mark
from discrepancy.demo.surface import Field, Grid, Pose, Surface, grain, rgb, smooth_field

PITCH = 0.076
YARNS = 46
"""Yarns of each direction: enough to reach over the picture's corners in every pose."""
WAVE, CROWN = 0.014, 0.018
WARP, WEFT = (0.07, 0.115, 0.20), (0.52, 0.47, 0.37)


@dataclass(frozen=True, eq=False)
class Yarns:
    """One direction's yarns, arrays [YARNS]: sideways offsets (shares of the pitch), relative widths, tones."""

    offsets: NDArray[np.float32]
    widths: NDArray[np.float32]
    tones: NDArray[np.float32]


@dataclass(frozen=True)
class Fault:
    """A fault of one yarn, from `start` over `length` crossings: thicker (`swell` > 0) or missing (-1)."""

    warp: bool
    yarn: int
    start: float
    length: float
    swell: float


@dataclass(frozen=True, eq=False)
class WeaveScene:
    """One piece of cloth. `over` [YARNS, YARNS] is 1 where warp i lies over weft j, else -1."""

    pose: Pose
    tone: float
    seed: int
    warp: Yarns
    weft: Yarns
    over: NDArray[np.float32]
    fault: Fault | None = None
    marks: tuple[Mark, ...] = ()


def draw(rng: np.random.Generator) -> WeaveScene:
    """Draw a good piece, turned by at most 6 degrees."""
    return WeaveScene(
        pose=Pose(
            angle=math.radians(rng.uniform(-6, 6)),
            scale=rng.uniform(0.97, 1.03),
            shift=(rng.uniform(-0.5, 0.5) * 4 * PITCH, rng.uniform(-0.5, 0.5) * 4 * PITCH),
        ),
        tone=rng.uniform(0.88, 1.1),
        seed=int(rng.integers(2**32)),
        warp=_draw_yarns(rng),
        weft=_draw_yarns(rng),
        over=np.where((np.arange(YARNS)[:, None] + np.arange(YARNS)) % 4 < 2, 1, -1).astype(np.float32),
    )


def _draw_yarns(rng: np.random.Generator) -> Yarns:
    return Yarns(
        offsets=rng.normal(0, 0.035, YARNS).astype(np.float32),
        widths=rng.normal(1, 0.04, YARNS).astype(np.float32),
        tones=rng.normal(1, 0.05, YARNS).astype(np.float32),
    )


def build(scene: WeaveScene, picture: Grid) -> Surface:
    """Build the surface of a scene on the picture's pixels."""
    rng = np.random.default_rng(scene.seed)
    grid = picture.posed(scene.pose)
    shape = grid.x.shape
    # Cloth is never quite straight: both directions wander by a fraction of the pitch.
    x = grid.x + 0.22 * PITCH * smooth_field(rng, shape, 0.45)
    y = grid.y + 0.22 * PITCH * smooth_field(rng, shape, 0.45)
    warp, weft = x / PITCH + YARNS / 2, y / PITCH + YARNS / 2
    warp_height, warp_tone, warp_there = _lay_yarns(scene, rng, warp, weft, is_warp=True)
    weft_height, weft_tone, weft_there = _lay_yarns(scene, rng, weft, warp, is_warp=False)
    on_top = warp_height > weft_height
    fuzz = grain(rng, grid.x, grid.y, 0.013)
    tone = np.where(on_top, warp_tone, weft_tone) * (1 + 0.06 * fuzz)
    colour = np.where(on_top, rgb(WARP, scene.tone), rgb(WEFT, scene.tone)) * tone
    there = np.where(on_top, warp_there, weft_there)
    surface = Surface.plain(grid, rgb((0.012, 0.012, 0.014)))
    folds = 0.05 * smooth_field(rng, shape, 0.9)
    surface.height[:] = -0.05 + folds
    top = np.maximum(warp_height, weft_height) + 0.0012 * fuzz + folds
    surface.lay(there, albedo=colour, height=top, gloss=0.05)
    for mark in scene.marks:
        mark.apply(surface, grid)
    return surface


def _lay_yarns(
    scene: WeaveScene, rng: np.random.Generator, across: Field, along: Field, *, is_warp: bool
) -> tuple[Field, Field, Field]:
    """Return height, tone and coverage of one direction's yarns, at coordinates in pitches."""
    yarns = scene.warp if is_warp else scene.weft
    over = scene.over if is_warp else -scene.over.T
    swell: Field = np.zeros((), np.float32)
    fault = scene.fault if scene.fault is not None and scene.fault.warp == is_warp else None
    if fault is not None:
        swell = fault.swell * np.clip(1.5 * np.minimum(along - fault.start, fault.start + fault.length - along), 0, 1)
        # A thick yarn takes its neighbours' room and pushes them aside: magnify what lies around it.
        aside = across - fault.yarn
        across = across - 0.5 * np.maximum(swell, 0) * aside * np.exp(-((aside / 1.3) ** 2))
    nearest = np.clip(np.rint(across), 0, YARNS - 1)
    index = nearest.astype(np.int32)
    # Between two crossings a yarn swings from one level to the other.
    last = np.clip(np.floor(along), 0, YARNS - 2)
    before, part = last.astype(np.int32), along - last
    part = part * part * (3 - 2 * part)
    here = over[index, before]
    level = here + (over[index, before + 1] - here) * part

    width = 0.5 * yarns.widths[index]
    if fault is not None:
        swell = swell * (index == fault.yarn)
        width = width * (1 + np.minimum(swell, 0))
    offset = across - nearest - yarns.offsets[index]
    roundness = 1 - (offset / np.maximum(width, 1e-3)) ** 2
    height = WAVE * level + CROWN * (1 + swell) * np.sqrt(np.maximum(roundness, 0)) - np.float32(0.02) * (roundness < 0)
    # Fibres run along the yarn, twisted: streaks that lean.
    fibres = grain(rng, across * 0.5 + along * 0.2, along * 0.5, (0.045, 0.5))
    tone = yarns.tones[index] * (1 + 0.13 * fibres)
    return height + 0.0012 * fibres, tone, np.clip(0.5 + 6 * roundness, 0, 1)
