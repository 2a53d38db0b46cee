"""Chosen rows of an array on disk, in any order, without a copy of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, eq=False)
class Rows:
    """A view of some rows of an array, in a given order. Only what is asked for is read.

    Attributes:
        array: `[N, ...]`, memory-mapped or not.
        order: rows of the array, `[n]`.
    """

    array: NDArray[Any]
    order: NDArray[np.intp]

    def __len__(self) -> int:
        """Return the number of rows, n."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)."""
        return len(self.order), *self.array.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self.order) * self.array[:1].nbytes

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.intp]) -> Any:
        """Return a view for a slice, the values themselves for a list of rows or a mask [n]."""
        if isinstance(rows, slice):
            return Rows(self.array, self.order[rows])
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.intp)
        return np.asarray(self.array[self.order[index]])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the values, which are always a copy."""
        del copy
        return np.asarray(self.array[self.order], dtype=dtype)
