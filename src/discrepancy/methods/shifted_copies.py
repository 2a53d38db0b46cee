"""Copies of images, each shifted by a few pixels at random."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MOST_COPIES = 300
"""Images that are copied, at most: a mean over more of them is hardly more exact."""


def shifted_copies(
    images: NDArray[np.uint8], count: int, most: int, *, seed: int, at_once: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield a shifted copy of each of the first images, of 300 evenly spread ones if there are more.

    Rows and columns that move in are the reflection of those beside them. How far an image moves depends on seed and
    row alone.

    Args:
        images: uint8 [N, C, H, W]; memory-mapped or not, read one by one.
        count: number of images, from the first one, that may be copied.
        most: largest shift to each side, px, or the image's side less 1 if that is shorter; 0 yields the images as they
            are.
        seed: of the shifts.
        at_once: images per batch.

    Yields:
        uint8 [n, C, H, W].
    """
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_COPIES)).astype(np.intp))
    for start in range(0, len(rows), at_once):
        yield np.stack([_shifted(images[int(row)], most, seed, int(row)) for row in rows[start : start + at_once]])


def _shifted(image: NDArray[np.uint8], most: int, seed: int, row: int) -> NDArray[np.uint8]:
    height, width = image.shape[1:]
    most = min(most, height - 1, width - 1)  # a reflection reaches no further
    down, right = np.random.default_rng([seed, row]).integers(-most, most + 1, 2)
    rows, columns = _reflected(np.arange(height) + down, height), _reflected(np.arange(width) + right, width)
    return image[:, rows[:, None], columns]


def _reflected(places: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Return places 0..size-1, those beyond the border reflected without repeating the border itself."""
    last = size - 1
    return last - np.abs(last - np.abs(places))
