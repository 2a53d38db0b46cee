"""Sums over patches that come in batches, from which means, second moments and regressions follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor


class Sums(NamedTuple):
    """Sums over patches: their number, a vector [d] and a matrix [d, d], float64 on the CPU."""

    patches: int
    first: Tensor
    second: Tensor

    def plus(self, other: Sums) -> Sums:
        """Return the sums over the patches of both."""
        return Sums(self.patches + other.patches, self.first + other.first, self.second + other.second)


def sums_of(maps: Tensor) -> Sums:
    """Return the sums of vectors, and of their outer products, of maps [N, C, h, w].

    Products are taken in the type of the maps, sums over batches in float64.
    """
    rows = maps.transpose(0, 1).flatten(1)
    return Sums(rows.shape[1], rows.sum(1).double().cpu(), (rows @ rows.T).double().cpu())


def total(batches: Iterable[Sequence[Sums]]) -> list[Sums]:
    """Return the sums over all batches, for each of the things that are summed.

    Raises:
        ValueError: there is no batch.
    """
    result: list[Sums] | None = None
    for parts in batches:
        result = list(parts) if result is None else [one.plus(other) for one, other in zip(result, parts, strict=True)]
    if result is None:
        raise ValueError("no batch of good images; expected at least one")
    return result
