"""Synthetic defects for self-feature enhancement (SFE): brush strokes filled in one of five ways.

DFC (Pattern Recognition 2022) shows its estimation network good images with free-form strokes painted over and asks for
the features of the clean image. Every draw comes from a generator that the caller seeds per image and epoch. So the
sequence does not depend on the number of workers or on the step at which a run was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from discrepancy.errors import InputError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean colour of ImageNet, 0..255: zero in normalised space, the fill of `mean_colour`."""

KINDS = ("mean_colour", "inpaint", "colour", "noise", "image")
"""The five fills, in the order of the paper's code. `image` needs images to blend in."""

_REFERENCE = 256  # the side of the images for which the paper's stroke sizes are given, px


class ImageSource(Protocol):
    """Images to blend in: a sequence of uint8 arrays [3, H, W], decoded on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Strokes:
    """Distribution of the strokes of one mask; lengths in px of a 256 x 256 image, scaled with the shorter side.

    Attributes:
        strokes: most strokes in a square image; each mask draws 1..strokes, more where the image is longer.
        brush: smallest and largest maximum brush width.
        vertices: smallest and largest maximum number of vertices.
        length: longest step between two vertices.
        start: distance of the first vertex from the border, at least.
        margin: distance of the other vertices from the border, at least. The paper's 40 leaves the outer 16 px
            practically free of strokes; 0 lets defects reach the border.
    """

    strokes: int = 3
    brush: tuple[int, int] = (8, 47)
    vertices: tuple[int, int] = (12, 15)
    length: int = 32
    start: int = 20
    margin: int = 40

    def mask(self, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw the union of the strokes.

        Args:
            size: height and width of the image, px.
            rng: the source of every draw.

        Returns:
            Mask, True inside a stroke, [H, W].
        """
        height, width = size
        scale = min(size) / _REFERENCE
        canvas = np.zeros((height, width), np.uint8)
        most = max(1, round(self.strokes * height * width / min(size) ** 2))
        for _ in range(int(rng.integers(1, most + 1))):
            self._draw(canvas, scale, rng)
        return canvas.astype(bool)

    def _draw(self, canvas: NDArray[np.uint8], scale: float, rng: np.random.Generator) -> None:
        height, width = canvas.shape
        brush = int(rng.integers(self.brush[0], self.brush[1] + 1))
        vertices = int(rng.integers(2, int(rng.integers(self.vertices[0], self.vertices[1] + 1)) + 1))
        start = max(self.start * scale, 0.0)
        margin = self.margin * scale
        x = float(rng.uniform(start, max(width - start, start + 1)))
        y = float(rng.uniform(start, max(height - start, start + 1)))
        angle = 0.0
        for step in range(vertices):
            angle = (float(np.deg2rad(rng.integers(0, 181))) + angle) / 2
            if step % 2 == 0:
                angle = 2 * np.pi - angle
            length = float(rng.integers(1, self.length + 1)) * scale
            thickness = max(1, round((int(rng.integers(self.brush[0], brush + 1)) // 2 * 2) * scale))
            next_x = float(np.clip(x + length * np.cos(angle), margin, max(width - margin, margin)))
            next_y = float(np.clip(y + length * np.sin(angle), margin, max(height - margin, margin)))
            cv2.line(canvas, (round(x), round(y)), (round(next_x), round(next_y)), 1, thickness)
            x, y = next_x, next_y


class Corruption:
    """Self-feature enhancement's corruption of one good image (methods of the paper's code, types 0 to 4).

    Args:
        kinds: the fills to draw from, uniformly; names from `KINDS`.
        strokes: distribution of the masks.
        images: images for the fill `image` (ImageNet in the paper); without them that kind is refused.

    Raises:
        InputError: an unknown kind, none, or `image` without images.

    Example:
        >>> corrupt = Corruption(("noise",))
        >>> corrupted, mask = corrupt(np.zeros((3, 64, 64), np.uint8), np.random.default_rng(0))
        >>> corrupted.shape, mask.dtype
        ((3, 64, 64), dtype('bool'))
    """

    def __init__(
        self, kinds: Sequence[str] = KINDS[:4], *, strokes: Strokes | None = None, images: ImageSource | None = None
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise InputError(f"corruptions: {unknown or 'none'} given; expected some of {', '.join(KINDS)}")
        if "image" in kinds and not (images is not None and len(images)):
            raise InputError("corruptions: 'image' needs a folder of images to blend in (blend_folder)")
        self.kinds = tuple(kinds)
        self.strokes = strokes or Strokes()
        self.images = images

    def __call__(
        self, image: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Corrupt one image.

        Args:
            image: uint8 [3, H, W], RGB.
            rng: the source of every draw.

        Returns:
            The corrupted image, uint8 [3, H, W], and the mask of changed pixels, bool [H, W].
        """
        mask = self.strokes.mask((image.shape[1], image.shape[2]), rng)
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        corrupted = image.copy()
        if mask.any():  # the strokes of a small image may miss every pixel
            corrupted[:, mask] = self._fill(kind, image, mask, rng)
        return corrupted, mask

    def _fill(
        self, kind: str, image: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return new values of the pixels inside the mask, uint8 [3, M]."""
        inside = image[:, mask]
        if kind == "mean_colour":
            return np.broadcast_to(np.round(IMAGENET_MEAN).astype(np.uint8)[:, None], inside.shape)
        if kind == "inpaint":
            return _telea(image, mask)
        if kind == "colour":
            share = rng.uniform(0.1, 0.5)
            fill = _random_pixel(image, mask if rng.random() < 0.6 else ~mask, rng)[:, None].astype(np.float32)
        elif kind == "noise":
            share = rng.uniform(0.3, 0.8)
            fill = rng.random(inside.shape, np.float32) * 255
        else:
            assert self.images is not None  # checked when constructed
            share = rng.uniform(0.3, 0.8)
            fill = self.images[int(rng.integers(len(self.images)))][:, mask].astype(np.float32)
        blended = share * inside.astype(np.float32) + (1 - share) * fill
        return np.round(blended).astype(np.uint8)


def _random_pixel(image: NDArray[np.uint8], where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the colour of a random pixel among those marked, uint8 [3]; of any pixel if none is marked."""
    candidates = np.flatnonzero(where)
    index = int(candidates[rng.integers(candidates.size)]) if candidates.size else int(rng.integers(where.size))
    return image.reshape(3, -1)[:, index]


def _telea(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Inpaint the pixels inside the mask by Telea's method, radius 5: uint8 [3, M].

    Only the mask's surroundings are handed to OpenCV: pixels beyond the radius cannot change the result, and its set-up
    time grows with the picture.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    pad = 8
    top, bottom = max(rows[0] - pad, 0), min(rows[-1] + pad + 1, mask.shape[0])
    left, right = max(columns[0] - pad, 0), min(columns[-1] + pad + 1, mask.shape[1])
    patch = np.ascontiguousarray(image[:, top:bottom, left:right].transpose(1, 2, 0))
    hole = mask[top:bottom, left:right]
    painted = cv2.inpaint(patch, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA)
    return np.ascontiguousarray(painted[hole].T)
