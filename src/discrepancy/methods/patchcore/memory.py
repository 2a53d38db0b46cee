"""Queries of PatchCore's memory of normal patches: the nearest item, and its distance from other items."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 1024
"""Patches compared with the memory at a time: their distances then stay in the processor's cache."""


def nearest(patches: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest item of the memory for each patch.

    Args:
        patches: [N, d].
        memory: [M, d].

    Returns:
        Distances [N] and indices [N]. The index is found by products (|m|^2 - 2 x.m), the distance by the difference,
        which keeps its digits where it is small.
    """
    squares = memory.square().sum(1)
    # A graph for any number of images cannot be split by their number.
    parts = [patches] if torch.compiler.is_exporting() else patches.split(ROWS)
    indices = torch.cat([torch.addmm(squares, part, memory.T, alpha=-2).argmin(1) for part in parts])
    return (patches - memory[indices]).square_().sum(1).sqrt_(), indices


def reweighted(patches: Tensor, indices: Tensor, memory: Tensor, neighbours: int) -> Tensor:
    """Weigh the distance of a patch by how near its nearest item is to others in the memory (equation 7 of the paper).

    A patch near a rare item of the memory, with others far away, counts for more than one near a usual item.

    Args:
        patches: the most anomalous patch m of each image, [N, d].
        indices: its nearest item m* in the memory, [N].
        memory: [M, d].
        neighbours: b, how many items nearest to m* are looked at, itself among them; 1 leaves distances as they are.

    Returns:
        Scores [N]: (1 - exp|m - m*| / sum of exp|m - n| over the neighbours n) |m - m*|.
    """
    items = memory[indices]
    distance = (patches - items).square().sum(1).sqrt()
    neighbours = min(neighbours, len(memory))
    if neighbours < 2:
        return distance
    from_items = torch.addmm(memory.square().sum(1), items, memory.T, alpha=-2)
    # A product does not see for certain that an item is nearest to itself.
    from_items = from_items.scatter(1, indices[:, None], -torch.inf)
    around = from_items.topk(neighbours, largest=False).indices
    to_neighbours = (patches[:, None] - memory[around]).square().sum(2).sqrt()
    return (1 - torch.exp(distance - to_neighbours.logsumexp(1))) * distance
