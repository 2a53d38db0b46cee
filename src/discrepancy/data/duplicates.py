"""Near-duplicate photographs: candidates by perceptual hash, confirmed by correlation after removal of the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_DISTANCE: Final = 48
"""Most bits of 256 in which the hashes of two candidates differ."""
MIN_CORRELATION: Final = 0.88
"""Least correlation of two thumbnails after the mean normal image is subtracted."""
_BLOCK_BYTES: Final = 4 * 2**20


class Pair(NamedTuple):
    """Rows of two near-duplicates, and the correlation of their differences from the mean normal image."""

    test: int
    other: int
    correlation: float


def nearest(hashes: NDArray[np.uint64], among: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return, for each of `hashes` [S, words], row and Hamming distance [S] of the nearest of `among` [T, words].

    All pairs are compared, in blocks of a bounded size; of several equally near ones the first is taken.
    """
    rows, distances = np.empty(len(hashes), np.intp), np.empty(len(hashes), np.int64)
    step = max(1, _BLOCK_BYTES // max(1, among.nbytes))
    for start in range(0, len(hashes), step):
        differing = np.bitwise_count(hashes[start : start + step, None] ^ among[None]).sum(-1, dtype=np.int64)
        rows[start : start + step] = differing.argmin(1)
        distances[start : start + step] = differing.min(1)
    return rows, distances


def near_duplicates(
    hashes: NDArray[np.uint64],
    among: NDArray[np.uint64],
    mean: NDArray[np.floating],
    thumbnails: Callable[[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> list[Pair]:
    """Return the test photographs that nearly equal another one: saved again, rescaled, a little brighter.

    Parts of one kind look alike, and so do their hashes. In a series taken from one tripod the nearest two may differ
    in fewer bits than one photograph and its own JPEG copy. So near hashes only make candidates. Two of them count as
    near-duplicates if their thumbnails correlate after the mean normal image is subtracted. The difference holds what
    is individual: the part's position, its grain, its light.

    Args:
        hashes: of the test photographs, uint64 [S, words].
        among: of the others, uint64 [T, words].
        mean: thumbnail [h, w] of the mean normal image.
        thumbnails: gives the thumbnails, uint8 [h, w], of a test photograph and of another, by their rows.
    """
    if not len(hashes) or not len(among):
        return []
    pairs = []
    for row, (other, distance) in enumerate(zip(*nearest(hashes, among), strict=True)):
        if distance <= MAX_DISTANCE:
            one, two = thumbnails(row, int(other))
            if (value := correlation(one - mean, two - mean)) >= MIN_CORRELATION:
                pairs.append(Pair(row, int(other), value))
    return pairs


def correlation(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    """Return the Pearson correlation of two arrays of one shape, -1 to 1; 0 if one of them is constant."""
    one, two = one - one.mean(), two - two.mean()
    norm = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float((one * two).sum()) / norm if norm > 0 else 0.0
