"""A part before the camera: a height field with colour, gloss and metalness, painted layer by layer.

Lengths are in units of half the picture's width. The picture spans -1 .. 1 in x (to the right) and in y (down); a part
is described in its own frame, which `Grid.posed` lays into the picture. Random fields are defined on lattices of a
given cell length, so a scene looks the same at every picture size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
"""Float32 throughout; typed wider because NumPy's stubs widen float32 with Python numbers."""
Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Pose:
    """Pose of a part's frame in the picture: turned by `angle` (radians), scaled, then shifted."""

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def to_frame(self, point: tuple[float, float]) -> tuple[float, float]:
        """Convert a point of the picture to the part's frame."""
        x, y = point[0] - self.shift[0], point[1] - self.shift[1]
        cos, sin = math.cos(self.angle) / self.scale, math.sin(self.angle) / self.scale
        return cos * x + sin * y, cos * y - sin * x

    def to_picture(self, point: tuple[float, float]) -> tuple[float, float]:
        """Convert a point of the part's frame to the picture."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        return cos * point[0] - sin * point[1] + self.shift[0], sin * point[0] + cos * point[1] + self.shift[1]


@dataclass(frozen=True)
class Grid:
    """Coordinates `x` and `y` [H, W] of every pixel in some frame, and the pose to return to the picture.

    `pixel` is the pixel's side in this frame; `pose` is this frame's pose in the picture.
    """

    x: Field
    y: Field
    pixel: float
    pose: Pose = Pose()

    @classmethod
    def of_picture(cls, size: int) -> Grid:
        """Return the picture's own frame, `size` x `size` pixels."""
        centres = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
        return cls(*np.meshgrid(centres, centres), pixel=2 / size)

    def posed(self, pose: Pose) -> Grid:
        """Return the frame of a part whose pose in the picture is `pose`."""
        cos, sin = math.cos(pose.angle) / pose.scale, math.sin(pose.angle) / pose.scale
        x, y = self.x - pose.shift[0], self.y - pose.shift[1]
        return Grid(cos * x + sin * y, cos * y - sin * x, self.pixel / pose.scale, pose)

    def shifted(self, centre: Sequence[float] | Field) -> tuple[Field, Field]:
        """Return x and y relative to a point of this frame."""
        x, y = np.asarray(centre, dtype=np.float32)
        return self.x - x, self.y - y

    def window(self, centre: Sequence[float] | Field, radius: float) -> Window:
        """Return the pixels of a square that surely holds the disc (a margin covers a slightly warped frame)."""
        x, y = self.pose.to_picture((float(centre[0]), float(centre[1])))
        size = self.x.shape[0]
        reach = self.pose.scale * (radius + 0.03)
        # Pixel i spans (i .. i + 1) * 2 / size - 1.
        edges = [[(c + sign * reach + 1) * size / 2 for c in (y, x)] for sign in (-1, 1)]
        rows, columns = (
            slice(min(max(math.floor(low), 0), size), min(max(math.ceil(high), 0), size))
            for low, high in zip(*edges, strict=True)
        )
        return rows, columns

    def cut(self, window: Window) -> Grid:
        """Restrict this frame to some of the pixels."""
        return Grid(self.x[window], self.y[window], self.pixel, self.pose)

    def cover(self, distance: Field) -> Field:
        """Return the covered share of each pixel of a shape, from its signed distance (negative inside)."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)


@dataclass
class Surface:
    """A surface to be lit: `albedo` [3, H, W], `height`, `gloss` and `metal` [H, W], on pixels of side `pixel`.

    `albedo` is linear reflectance 0 .. 1; `gloss` the strength of highlights; `metal` 0 .. 1 says how far
    highlights take the surface's own colour.
    """

    albedo: Field
    height: Field
    gloss: Field
    metal: Field
    pixel: float

    @classmethod
    def plain(cls, grid: Grid, albedo: Field) -> Surface:
        """Return a matt sheet of colour `albedo` [3, H, W] (or a single one, [3, 1, 1]) at height 0."""
        shape = grid.x.shape
        height, gloss, metal = (np.zeros(shape, np.float32) for _ in range(3))
        return cls(np.broadcast_to(albedo, (3, *shape)).copy(), height, gloss, metal, grid.pixel)

    def lay(
        self,
        cover: Field,
        *,
        at: Window = WHOLE,
        albedo: Field | None = None,
        height: Field | float | None = None,
        gloss: Field | float | None = None,
        metal: Field | float | None = None,
    ) -> None:
        """Paint a layer over the pixels `at`, with opacity `cover` [h, w]; properties given as None stay unchanged."""
        layers = ((self.albedo, albedo), (self.height, height), (self.gloss, gloss), (self.metal, metal))
        for channel, value in layers:
            if value is not None:
                below = channel[..., *at]
                change = value - below
                change *= cover
                below += change


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Field:
    """Return smooth noise in the picture's frame, about -1 .. 1, that varies over lengths of `cell`."""
    knots = int(np.ceil(2 / cell)) + 3
    lattice = rng.uniform(-1, 1, (knots, knots)).astype(np.float32)
    return np.asarray(cv2.resize(lattice, shape[::-1], interpolation=cv2.INTER_CUBIC))


def grain(rng: np.random.Generator, x: Field, y: Field, cell: float | tuple[float, float]) -> Field:
    """Return fine noise, about -1 .. 1, that is fixed to a frame: a random lattice looked up at (x, y) / cell."""
    cell_x, cell_y = (cell, cell) if isinstance(cell, float) else cell
    lattice = rng.uniform(-1, 1, (256, 256)).astype(np.float32)
    field = cv2.remap(lattice, x / cell_x + 128, y / cell_y + 128, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(field)


def profile(rng: np.random.Generator, t: Field, cell: float, *, reach: float = 2.0) -> Field:
    """Return noise along one coordinate, about -1 .. 1: tool marks. `t` lies within -reach .. reach."""
    knots = rng.uniform(-1, 1, (1, int(2 * reach / cell) + 2)).astype(np.float32)
    table = cv2.resize(knots, (knots.size * 8, 1), interpolation=cv2.INTER_CUBIC)[0]
    return table[np.clip((t + reach) * (table.size / (2 * reach)), 0, table.size - 1).astype(np.int32)]


def polar(x: Field, y: Field) -> tuple[Field, Field]:
    """Return distance from the origin and angle (0 .. 2 pi)."""
    radius, angle = cv2.cartToPolar(np.ascontiguousarray(x), np.ascontiguousarray(y))
    return np.asarray(radius), np.asarray(angle)


def wavy(rng: np.random.Generator, angle: Field, *, waves: int = 5) -> Field:
    """Return a closed wavy line, about -1 .. 1, as a function of the angle 0 .. 2 pi: it makes circles irregular."""
    turn = np.linspace(0, 2 * np.pi, 2048)
    orders = np.arange(2, 2 + waves)
    waves_ = rng.normal(size=(waves, 1)) / orders[:, None]
    table = (waves_ * np.cos(orders[:, None] * turn + rng.uniform(0, 2 * np.pi, (waves, 1)))).sum(0).astype(np.float32)
    return table[(angle * np.float32(2047 / (2 * np.pi))).astype(np.int32) & 2047]


def rgb(colour: tuple[float, float, float], tone: float = 1.0) -> Field:
    """Return a colour (linear red, green, blue), darkened or lightened, as an array [3, 1, 1]."""
    return np.multiply(colour, tone).astype(np.float32)[:, None, None]
