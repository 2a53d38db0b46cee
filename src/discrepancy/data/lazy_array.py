"""Large arrays in pieces: computed in parallel, in order, never entirely in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

Item = TypeVar("Item")

# Pieces are no larger than this, whatever the number of rows asked for. At most three are alive at a time.
MAX_CHUNK_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class LazyArray:
    """An array that is computed when it is saved, piece by piece, so that it need not fit in memory.

    A step returns it in place of the array, as one returns a Dask array or a Polars `LazyFrame`: planning is free,
    saving computes. `ArrayDataset` saves it and loads a memory-mapped `np.ndarray`; in a notebook, `to_numpy` computes
    it in memory. Features of several layers have the same form, `features.recipe.LazyFeatures`.

    Attributes:
        shape: shape of the whole array, [N, ...].
        dtype: its data type.
        chunks: gives the pieces [n, ...] in order along the first axis. Each call computes them anew.
        fingerprint: digest of everything that decides the numbers, if there is one: an array stored under the same
            fingerprint may then be kept. None: computed every time.

    Example:
        >>> array = LazyArray((3, 2), np.dtype(bool), lambda: iter([np.zeros((2, 2), bool), np.ones((1, 2), bool)]))
        >>> array.to_numpy().sum(axis=1)
        array([0, 0, 2])
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Callable[[], Iterator[np.ndarray]]
    fingerprint: str | None = None

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield all pieces [n, ...] in order, each of this data type and width, together of this length.

        Raises `ValueError` if they are not: before the piece that does not fit, or after the last one.
        """
        row = 0
        for piece in self.chunks():
            if (piece.shape[1:], piece.dtype) != (self.shape[1:], self.dtype) or row + len(piece) > self.shape[0]:
                raise ValueError(f"piece {piece.dtype} {piece.shape} at row {row} is not of {self.dtype} {self.shape}")
            yield piece
            row += len(piece)
        if row != self.shape[0]:
            raise ValueError(f"the pieces hold {row} rows: expected {self.shape[0]}")

    def fill(self, target: np.ndarray) -> None:
        """Write all pieces into `target` (an array or a memory map) of this shape and data type.

        Raises `ValueError` if `target` or the pieces do not fit: no row is ever left unwritten.
        """
        if (target.shape, target.dtype) != (self.shape, self.dtype):
            raise ValueError(f"target is {target.dtype} {target.shape}: expected {self.dtype} {self.shape}")
        row = 0
        for piece in self.pieces():
            target[row : row + len(piece)] = piece
            row += len(piece)

    def to_numpy(self) -> np.ndarray:
        """Return the whole array [N, ...] in memory: for notebooks, and for arrays known to be small."""
        array = np.empty(self.shape, self.dtype)
        self.fill(array)
        return array


def computed_chunks(
    fill: Callable[[Item, np.ndarray], None],
    items: Sequence[Item],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    workers: int | None = None,
    chunk: int = 64,
) -> Iterator[np.ndarray]:
    """Yield pieces [n, *shape] of an array whose row i is written by `fill(items[i], row)`, in the order of `items`.

    Rows are filled by `workers` threads (default: one per usable core), so `fill` should spend its time outside the
    interpreter lock. While the caller uses one piece, only the next one is being filled. A piece has at most `chunk`
    rows and `MAX_CHUNK_BYTES` (always at least one row). The first error, in the order of `items`, is raised, and rows
    that have not begun are cancelled; likewise if the caller stops early.
    """
    row_bytes = int(np.prod(shape)) * dtype.itemsize
    length = max(1, min(chunk, MAX_CHUNK_BYTES // max(1, row_bytes)))
    pool = ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="decode")

    def begin(first: int) -> tuple[np.ndarray, list[Future[None]]]:
        block = items[first : first + length]
        piece = np.empty((len(block), *shape), dtype)
        return piece, [pool.submit(fill, item, row) for item, row in zip(block, piece, strict=True)]

    try:
        ahead = deque([begin(0)])
        for first in range(0, len(items), length):
            ahead.append(begin(first + length))
            for task in ahead[0][1]:
                task.result()
            yield ahead.popleft()[0]  # no reference is kept: the caller alone decides how long a piece lives
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
