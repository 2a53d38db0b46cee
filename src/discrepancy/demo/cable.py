"""Category `cable`: the cut face of a three-core cable that lies on a bench.

A grey sheath, a chalky filler, three cores (green-yellow, blue, brown) of 37 copper strands each. The cable's radius
is the unit of its frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discrepancy.demo.marks import Mark
from discrepancy.demo.surface import (
    Field,
    Grid,
    Pose,
    Surface,
    grain,
    polar,
    profile,
    rgb,
    smooth_field,
    wavy,
)

BENCH_HEIGHT = -0.45
SHEATH_INNER = 0.85
CORE_CENTRE = 0.458
CORE_RADIUS = 0.385
BUNDLE_RADIUS = 0.268
STRANDS_PER_RING = (1, 6, 12, 18)

GREEN, YELLOW = (0.045, 0.24, 0.075), (0.62, 0.47, 0.03)
BLUE, BROWN = (0.02, 0.10, 0.36), (0.17, 0.065, 0.03)
COPPER = (0.72, 0.32, 0.15)


@dataclass(frozen=True)
class Notch:
    """A cut-out of a round edge: `width` along the edge, `depth` inwards, at `angle`.

    `lean` skews it; `roundness` goes from 1 (a wedge) to 2 (an ellipse).
    """

    angle: float
    width: float
    depth: float
    lean: float
    roundness: float


@dataclass(frozen=True, eq=False)
class Core:
    """One insulated conductor. Strand arrays: positions [S, 2] relative to the centre, tilts [S, 2], the rest [S]."""

    colour: str
    centre: tuple[float, float]
    radius: float
    stripe: float
    strands: NDArray[np.float32]
    radii: NDArray[np.float32]
    tilts: NDArray[np.float32]
    tones: NDArray[np.float32]
    present: NDArray[np.bool_]
    seed: int
    notch: Notch | None = None


@dataclass(frozen=True, eq=False)
class CableScene:
    """One piece of cable in its pose."""

    pose: Pose
    tone: float
    bench: float
    knife: float
    seed: int
    cores: tuple[Core, ...]
    notch: Notch | None = None
    marks: tuple[Mark, ...] = ()


def draw(rng: np.random.Generator) -> CableScene:
    """Draw a good piece: turned by at most 15 degrees, shifted and scaled a little, its strands rearranged."""
    pose = Pose(
        angle=math.radians(rng.uniform(-15, 15)),
        scale=0.80 * rng.uniform(0.97, 1.03),
        shift=(rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)),
    )
    return CableScene(
        pose=pose,
        tone=rng.uniform(0.94, 1.06),
        bench=rng.uniform(0.6, 1.4),
        knife=rng.uniform(0, np.pi),
        seed=int(rng.integers(2**32)),
        cores=tuple(_draw_core(colour, k, rng) for k, colour in enumerate(("green-yellow", "blue", "brown"))),
    )


def _draw_core(colour: str, place: int, rng: np.random.Generator) -> Core:
    around = math.radians(-90 + 120 * place + rng.normal(0, 1.0))
    step = BUNDLE_RADIUS / 7
    rings, start = [], rng.uniform(0, 2 * np.pi)
    for ring, count in enumerate(STRANDS_PER_RING):
        angles = start + rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
        rings.append(2.03 * ring * step * np.stack([np.cos(angles), np.sin(angles)], 1))
    strands = np.concatenate(rings)
    count = len(strands)
    strands += rng.normal(0, 0.10 * step, strands.shape) + rng.normal(0, 0.006, 2)
    return Core(
        colour=colour,
        centre=(CORE_CENTRE * math.cos(around), CORE_CENTRE * math.sin(around)),
        radius=CORE_RADIUS * rng.uniform(0.985, 1.01),
        stripe=rng.uniform(0, np.pi),
        strands=strands.astype(np.float32),
        radii=(step * rng.uniform(0.93, 1.07, count)).astype(np.float32),
        tilts=rng.normal(0, 0.20, (count, 2)).astype(np.float32),
        tones=rng.uniform(0.75, 1.1, count).astype(np.float32),
        present=np.ones(count, bool),
        seed=int(rng.integers(2**32)),
    )


def build(scene: CableScene, picture: Grid) -> Surface:
    """Build the surface of a scene on the picture's pixels."""
    rng = np.random.default_rng(scene.seed)
    grid = picture.posed(scene.pose)
    surface = _bench(scene, grid, rng)
    across = math.cos(scene.knife) * grid.x + math.sin(scene.knife) * grid.y
    cuts = profile(rng, across, 0.05) + 0.5 * profile(rng, across, 0.02)
    cuts *= 0.6 + 0.4 * smooth_field(rng, grid.x.shape, 0.35)
    fine = grain(rng, grid.x, grid.y, 0.014)
    _lay_sheath(surface, scene, grid, cuts, fine, rng)
    for core in scene.cores:
        _lay_core(surface, core, grid, cuts, fine)
    for mark in scene.marks:
        mark.apply(surface, grid)
    return surface


def _bench(scene: CableScene, grid: Grid, rng: np.random.Generator) -> Surface:
    shape = grid.x.shape
    surface = Surface.plain(grid, rgb((0.105, 0.11, 0.115), scene.bench))
    speckle = smooth_field(rng, shape, 0.012)
    surface.albedo *= 1 + 0.16 * speckle + 0.10 * smooth_field(rng, shape, 0.5)
    surface.height[:] = BENCH_HEIGHT + 0.0025 * speckle + 0.003 * smooth_field(rng, shape, 0.03)
    surface.gloss[:] = 0.03
    return surface


def _lay_sheath(
    surface: Surface, scene: CableScene, grid: Grid, cuts: Field, fine: Field, rng: np.random.Generator
) -> None:
    at = grid.window((0.0, 0.0), 1.0)
    local = grid.cut(at)
    radius, angle = polar(local.x, local.y)
    outer = radius - (1 + 0.008 * wavy(rng, angle))
    if scene.notch is not None:
        outer = np.maximum(outer, -_notch(scene.notch, radius, angle, 1.0))
    bevel = 0.035 * np.exp(np.minimum(outer, 0) / 0.02)
    face = 0.0035 * cuts[at] + 0.0022 * fine[at] - bevel
    grey = rgb((0.40, 0.405, 0.40), scene.tone) * (1 + 0.04 * cuts[at] + 0.05 * fine[at])
    surface.lay(local.cover(outer), at=at, albedo=grey, height=face, gloss=0.10, metal=0.0)

    at = grid.window((0.0, 0.0), SHEATH_INNER)
    local = grid.cut(at)
    radius, angle = polar(local.x, local.y)
    inner = radius - (SHEATH_INNER + 0.010 * wavy(rng, angle))
    lumps = grain(rng, local.x, local.y, 0.03)
    filler = rgb((0.30, 0.285, 0.25), scene.tone) * (1 + 0.15 * lumps + 0.10 * fine[at])
    surface.lay(local.cover(inner), at=at, albedo=filler, height=-0.075 + 0.012 * lumps + 0.006 * fine[at], gloss=0.02)


def _lay_core(surface: Surface, core: Core, grid: Grid, cuts: Field, fine: Field) -> None:
    rng = np.random.default_rng(core.seed)
    at = grid.window(core.centre, core.radius)
    local = grid.cut(at)
    x, y = local.shifted(core.centre)
    radius, angle = polar(x, y)
    outer = radius - core.radius * (1 + 0.010 * wavy(rng, angle))
    hollow = radius - (BUNDLE_RADIUS + 0.004) * (1 + 0.015 * wavy(rng, angle))
    ring = np.maximum(outer, -hollow)
    if core.notch is not None:
        ring = np.maximum(ring, -_notch(core.notch, radius, angle, core.radius))
    bevel = 0.02 * np.exp(np.minimum(ring, 0) / 0.012)
    face = 0.003 * cuts[at] + 0.0018 * fine[at] - bevel
    colour = _insulation(core, radius, angle, rng) * (1 + 0.05 * cuts[at] + 0.05 * fine[at])
    surface.lay(local.cover(hollow), at=at, albedo=rgb((0.05, 0.03, 0.02)), height=-0.10, gloss=0.05)
    surface.lay(local.cover(ring), at=at, albedo=colour, height=face, gloss=0.13, metal=0.0)
    _lay_strands(surface, core, grid, cuts)


def _insulation(core: Core, radius: Field, angle: Field, rng: np.random.Generator) -> Field:
    tone = rng.uniform(0.93, 1.07)
    if core.colour != "green-yellow":
        return rgb(BLUE if core.colour == "blue" else BROWN, tone)
    # Two stripes, through the whole wall, with slightly washed borders.
    phase = 2 * (angle - core.stripe) + 0.25 * wavy(rng, angle) + 2 * (radius - CORE_RADIUS)
    yellow = np.clip(0.5 + (np.cos(phase) - 0.35) * 6, 0, 1)
    return rgb(GREEN, tone) * (1 - yellow) + rgb(YELLOW, tone) * yellow


def _lay_strands(surface: Surface, core: Core, grid: Grid, cuts: Field) -> None:
    at = grid.window(core.centre, BUNDLE_RADIUS)
    local = grid.cut(at)
    x, y = local.shifted(core.centre)
    kept = core.present
    strands, radii = core.strands[kept], core.radii[kept]
    # Power diagram: each pixel belongs to the strand into which it lies deepest, so neighbours never overlap. Of
    # |p - s|^2 - r^2, |p|^2 is the same for all strands.
    offset = (strands**2).sum(1) - radii**2
    owner = np.argmin(np.stack([x, y], -1) @ (-2 * strands.T) + offset, -1)
    dx, dy = x - strands[owner, 0], y - strands[owner, 1]
    radius, tilt, tone = radii[owner], core.tilts[kept][owner], core.tones[kept][owner]
    square = (dx * dx + dy * dy) / (radius * radius)
    # A sheared end: a tilted flat face with knife marks and a rounded rim.
    face = tilt[..., 0] * dx + tilt[..., 1] * dy - 0.30 * radius * square**3 + 0.003 * cuts[at]
    cover = local.cover((np.sqrt(square) - 0.98) * radius)
    surface.lay(cover, at=at, albedo=rgb(COPPER) * tone, height=0.004 + face, gloss=1.1 * tone, metal=1.0)


def _notch(notch: Notch, radius: Field, angle: Field, edge: float) -> Field:
    """Return the approximate signed distance of a notch in the circle of radius `edge`."""
    turn = (angle - notch.angle + np.pi) % (2 * np.pi) - np.pi
    inwards = edge - radius
    along = radius * turn - notch.lean * inwards
    half = notch.width / 2
    across = np.abs(along / half) ** notch.roundness + (np.maximum(inwards + 0.01, 0) / notch.depth) ** notch.roundness
    return (across ** (1 / notch.roundness) - 1) * min(half, notch.depth)
