"""PaDiM's embedding vectors: a random subset of the channels of several layers, joined on the finest grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.errors import InputError


class Embedding(nn.Module):
    """Join layers into one vector per position of the finest layer's grid (section III-A of the paper).

    Args:
        shapes: (C, h, w) of each layer's map.
        channels: number of channels to draw out of those of all layers; None takes all.
        seed: of the draw. NumPy keeps the stream of `RandomState` for good, so the seed stands for the channels.

    Attributes:
        grid: rows and columns of the finest layer.
        channels: length of the vectors.

    Raises:
        InputError: there are fewer channels than are to be drawn.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int, int]], channels: int | None, *, seed: int) -> None:
        super().__init__()
        total = sum(count for count, _, _ in shapes.values())
        if channels is not None and channels > total:
            raise InputError(
                f"channels: {channels} given; expected at most {total}, as many as {', '.join(shapes)} have together"
            )
        self.channels = total if channels is None else channels
        self.grid = (max(height for _, height, _ in shapes.values()), max(width for _, _, width in shapes.values()))
        drawn = np.sort(np.random.RandomState(seed % 2**32).permutation(total)[: self.channels])
        self.layers: list[str] = []
        first = 0
        for layer, (count, _, _) in shapes.items():
            of_layer = drawn[(first <= drawn) & (drawn < first + count)] - first
            first += count
            if len(of_layer):
                index = torch.tensor(of_layer.tolist(), dtype=torch.int64)
                self.register_buffer(f"channels_{len(self.layers)}", index, persistent=False)
                self.layers.append(layer)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors [N, rows, columns, channels], float32, of maps [N, C, h, w] by layer."""
        parts = []
        for position, layer in enumerate(self.layers):
            values = maps[layer].permute(0, 2, 3, 1).index_select(3, self.get_buffer(f"channels_{position}")).float()
            if values.shape[1:3] != self.grid:  # nearest neighbour: each cell of the coarse grid is repeated
                values = F.interpolate(values.permute(0, 3, 1, 2), self.grid, mode="nearest").permute(0, 2, 3, 1)
            parts.append(values)
        return torch.cat(parts, dim=3)
