"""The coreset: a small share of the patches, chosen so that none of the others is far from all of these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.random_projection import SparseRandomProjection

MARGIN = 1 - 1e-5
"""More than what float32 rounds, so that no distance is skipped that matters."""


def random_projection(length: int, components: int, *, seed: int) -> NDArray[np.float32]:
    """Return a matrix [length, components] that keeps distances between vectors roughly (Johnson-Lindenstrauss).

    Args:
        length: of the vectors.
        components: of their images, fewer than `length`.
        seed: of the sparse random matrix.
    """
    projection = SparseRandomProjection(components, random_state=seed % 2**32).fit(np.zeros((1, length)))
    matrix: NDArray[np.float32] = projection.components_.toarray().T.astype(np.float32)
    return matrix


def greedy_k_center(points: NDArray[np.float32], count: int, *, first: int = 0) -> NDArray[np.intp]:
    """Choose points one by one, each the farthest from those chosen before (algorithm 1 of the paper).

    The triangle inequality leaves most distances out. A point at distance r from its nearest centre cannot be nearer to
    a new one that is at least 2 r from that centre. What is chosen is the same; a new centre costs a look at two
    numbers per point and, on features of images, distances to one point in twenty.

    Args:
        points: [N, d].
        count: how many to choose, 1 to N.
        first: index of the first one.

    Returns:
        Indices [count], each once, in the order in which they were chosen: the first k are the coreset of size k.
    """
    chosen = np.empty(count, np.intp)
    centres = np.empty((count, points.shape[1]), points.dtype)
    chosen[0], centres[0] = first, points[first]
    owner = np.zeros(len(points), np.intp)  # which of the centres is the nearest
    nearest = _squared_distances(points, centres[0])  # to it; below 0 once chosen itself
    nearest[first] = -1
    for step in range(1, count):
        chosen[step] = nearest.argmax()
        centres[step] = points[chosen[step]]
        limit = _squared_distances(centres[:step], centres[step]) * np.float32(0.25 * MARGIN)
        close = np.flatnonzero(nearest > limit.take(owner))
        distance = _squared_distances(points.take(close, axis=0), centres[step])
        nearer = distance < nearest.take(close)
        close = close[nearer]
        nearest[close], owner[close] = distance[nearer], step
        nearest[chosen[step]] = -1
    return chosen


def _squared_distances(points: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances [N] of points [N, d] from a centre [d]; `einsum` squares and sums in one pass."""
    differences = points - centre
    return np.einsum("nd,nd->n", differences, differences)
