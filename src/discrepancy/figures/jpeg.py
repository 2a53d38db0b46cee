"""Photographs encoded for a page: as JPEG, all of them together within a number of bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from discrepancy.figures.overlays import Picture

SMALLEST = 96
"""Longest side of a picture that is not made smaller, px."""
_QUALITY = 85


def within(picture: Picture, side: int) -> Picture:
    """Return a picture uint8 [H, W, 3], made smaller where its longer side is above `side` px."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def jpegs(pictures: Sequence[Picture], *, most: int) -> list[bytes]:
    """Encode pictures as JPEG files; all are made smaller, by the same share, until together they fit.

    Args:
        pictures: uint8 [H, W, 3].
        most: bytes of all files together. Pictures of less than `SMALLEST` px take what they need.
    """
    side = max((max(picture.shape[:2]) for picture in pictures), default=0)
    while True:
        files = [_encoded(within(picture, side)) for picture in pictures]
        size = sum(map(len, files))
        if size <= most or side <= SMALLEST:
            return files
        side = max(SMALLEST, int(side * min(0.95, math.sqrt(most / size))))


def png(picture: Picture) -> bytes:
    """Encode a picture uint8 [H, W, 3] as a PNG file."""
    return _file(picture, "PNG")


def smaller(picture: Picture, *, most: int) -> bytes:
    """Encode a picture as PNG, or as JPEG of at most so many bytes, whichever is smaller.

    Drawings are small as PNG and stay sharp; those that hold photographs are smaller as JPEG.
    """
    return min(png(picture), *jpegs([picture], most=most), key=len)


def _encoded(picture: Picture) -> bytes:
    # Thin coloured lines would fade where colours have half the resolution. (With `optimize` Pillow has too small a
    # buffer for noise.)
    return _file(picture, "JPEG", quality=_QUALITY, subsampling=0)


def _file(picture: Picture, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()
