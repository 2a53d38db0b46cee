"""Damage and dirt on any part, applied to its surface in place: scratches, dents, blotches, chips, threads."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from discrepancy.demo.surface import Field, Grid, Surface, grain, polar, rgb, wavy

Colour = tuple[float, float, float]
Point = tuple[float, float]


class Mark(Protocol):
    """A local change of a surface, placed in a part's frame."""

    def apply(self, surface: Surface, grid: Grid) -> None:
        """Change `surface` in place; `grid` is the part's frame."""


@dataclass(frozen=True)
class Blotch:
    """A stain, lump or pit with a wavy outline: changes colour by `opacity`, height by `lift` (a rounded rise).

    `metal_only` keeps it on bare metal, the way tarnish and rust grow; `fills` lets it level what lies below, the way
    grease does.
    """

    centre: Point
    radius: float
    seed: int
    colour: Colour | None = None
    opacity: float = 1.0
    lift: float = 0.0
    gloss: float | None = None
    metal: float | None = None
    softness: float = 0.012
    waviness: float = 0.35
    stretch: tuple[float, float] = (1.0, 0.0)
    mottle: float = 0.0
    metal_only: bool = False
    fills: bool = False

    def apply(self, surface: Surface, grid: Grid) -> None:
        rng = np.random.default_rng(self.seed)
        at = grid.window(self.centre, self.radius * 2.2 * max(self.stretch[0], 1))
        local = grid.cut(at)
        x, y = local.shifted(self.centre)
        ratio, turn = self.stretch
        cos, sin = math.cos(turn), math.sin(turn)
        across, along = cos * x + sin * y, cos * y - sin * x
        distance, angle = polar(across / ratio, along)
        edge = self.radius * np.maximum(1 + self.waviness * wavy(rng, angle), 0.35)
        inside = edge - distance
        cover = np.clip(0.5 + inside / max(self.softness, local.pixel), 0, 1)
        if self.mottle:
            cover = cover * np.clip(1 + self.mottle * grain(rng, local.x, local.y, self.radius / 4), 0, 1)
        if self.metal_only:
            cover = cover * (surface.metal[at] > 0.5)
        base = surface.height[at]
        if self.fills:
            base = np.maximum(cv2.GaussianBlur(base, (0, 0), 0.4 * self.radius / local.pixel), base - 0.02)
        colour = None if self.colour is None else rgb(self.colour)
        surface.lay(cover * self.opacity, at=at, albedo=colour, gloss=self.gloss, metal=self.metal)
        surface.lay(cover, at=at, height=base + self.lift * np.sqrt(np.clip(inside / self.radius, 0, 1)))


@dataclass(frozen=True)
class Groove:
    """A scratch, cut or crack along a path: `width` wide, `depth` deep, with raised lips of a fraction `burr`.

    The tool slides over the top: what lies more than `reach` below the highest point that it touches stays whole.
    """

    path: tuple[Point, ...]
    width: float
    depth: float
    colour: Colour
    opacity: float = 0.8
    burr: float = 0.3
    reach: float = 0.15

    def apply(self, surface: Surface, grid: Grid) -> None:
        at, local, distance, along = _near(self.path, 2 * self.width, grid)
        # The tool comes down and goes up again: both ends taper.
        width = self.width / 2 * np.clip(6 * np.minimum(along, 1 - along) + 0.25, 0, 1)
        floor = np.clip(1 - distance / width, 0, 1)
        lips = np.exp(-(((distance - 1.25 * width) / (0.45 * width)) ** 2)) * (distance < 3 * width)
        height = surface.height[at]
        touched = height > np.max(height, where=distance < width, initial=-1) - self.reach
        height += self.depth * (self.burr * lips - floor) * touched
        surface.lay(local.cover(distance - 0.8 * width) * self.opacity * touched, at=at, albedo=rgb(self.colour))


@dataclass(frozen=True)
class Rod:
    """A wire, hair or thread along a path, `radius` thick.

    It lies `lift` above what it crosses, or above a plane at `height`; with `bridges` it is too stiff to follow every
    hollow. A yarn shows its `twists`.
    """

    path: tuple[Point, ...]
    radius: float
    colour: Colour
    lift: float = 0.0
    gloss: float = 0.1
    metal: float = 0.0
    height: float | None = None
    bridges: bool = False
    twists: int = 0

    def apply(self, surface: Surface, grid: Grid) -> None:
        at, local, distance, along = _near(self.path, 3 * self.radius, grid)
        base: Field | float = surface.height[at] if self.height is None else self.height
        if self.bridges:
            base = np.asarray(cv2.GaussianBlur(surface.height[at], (0, 0), 2 * self.radius / local.pixel))
        top = base + self.lift + np.sqrt(np.clip(self.radius**2 - distance**2, 0, None))
        cover = local.cover(distance - self.radius)
        albedo = rgb(self.colour)
        if self.twists:
            albedo = albedo * (1 + 0.2 * np.sin(2 * np.pi * self.twists * along + 1.5 * distance / self.radius))
        surface.lay(cover, at=at, albedo=albedo, height=top, gloss=self.gloss, metal=self.metal)


def arc(
    start: Point,
    heading: float,
    length: float,
    bend: float,
    *,
    steps: int = 10,
    wobble: NDArray[np.float64] | None = None,
) -> tuple[Point, ...]:
    """Return a path of `length` from `start` that turns by `bend` radians; `wobble` adds to each step's heading."""
    headings = heading + bend * np.linspace(0, 1, steps)
    if wobble is not None:
        headings = headings + wobble
    walk = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], 1), 0) * length / steps
    return (start, *((start[0] + float(dx), start[1] + float(dy)) for dx, dy in walk))


def around(centre: Point, distance: float, rng: np.random.Generator) -> Point:
    """Return a point at a random angle and a given distance from the centre."""
    angle = rng.uniform(0, 2 * math.pi)
    return centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)


def new_seed(rng: np.random.Generator) -> int:
    """Draw a seed to keep in a scene, for random fields that are drawn later."""
    return int(rng.integers(2**32))


def _near(path: tuple[Point, ...], margin: float, grid: Grid) -> tuple[tuple[slice, slice], Grid, Field, Field]:
    """Return the pixels around a path, their distances from it, and the position (0 .. 1) of their nearest points."""
    points = np.array(path, dtype=np.float32)
    centre = (points.min(0) + points.max(0)) / 2
    at = grid.window(centre, float(np.linalg.norm(points - centre, axis=1).max()) + margin)
    local = grid.cut(at)
    nearest = np.full(local.x.shape, np.inf, np.float32)
    along = np.zeros(local.x.shape, np.float32)
    for i, (a, b) in enumerate(itertools.pairwise(points)):
        x, y = local.shifted(a)
        way = b - a
        t = np.clip((x * way[0] + y * way[1]) / max(float(way @ way), 1e-12), 0, 1)
        square = (x - t * way[0]) ** 2 + (y - t * way[1]) ** 2
        closer = square < nearest
        nearest[closer] = square[closer]
        along[closer] = (i + t[closer]) / (len(points) - 1)
    return at, local, np.sqrt(nearest), along
