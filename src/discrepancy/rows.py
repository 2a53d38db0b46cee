"""Chosen rows of an array on disk, in any order, without a copy of the whole."""

from __future__ import annotations

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

    def __getitem__(self, rows: Any) -> Any:
        """Return values, read from the array: of a row, a slice, a list of rows or a mask [n]; further axes as NumPy's.

        Args:
            rows: index of the first axis, or a tuple of it and those of further axes.
        """
        first, *others = rows if isinstance(rows, tuple) else (rows,)
        index = first if isinstance(first, slice) else np.asarray(first)
        if not isinstance(index, slice) and not index.size:
            index = index.astype(np.intp)
        order = self.order[index]
        return np.asarray(self.array[order])[(*(slice(None),) * np.ndim(order), *others)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the values, which are always a copy."""
        del copy
        return np.asarray(self.array[self.order], dtype=dtype)
