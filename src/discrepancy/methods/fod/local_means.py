"""Feature maps averaged over the neighbours of each position: the tokens of FOD (ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 3
"""Positions per side of a neighbourhood."""


class LocalMeans(nn.Module):
    """Mean of each position over its 3x3 neighbourhood, stride 1. There is nothing to learn and nothing to save.

    Args:
        shapes: (C, h, w) of each layer's map, as `Backbone.map_shapes` gives them.
        padding: values beyond the border: `zeros`, which are counted (the paper), or `reflect`.

    Example:
        >>> LocalMeans({"a": (1, 2, 2)}, padding="zeros").reduced({"a": torch.ones(1, 1, 2, 2)})["a"][0, 0, 0, 0]
        tensor(0.4444)
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int, int]], *, padding: Literal["zeros", "reflect"]) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        self.padding = padding
        self.identity = {"local_means": {"side": SIDE, "padding": padding}}

    def reduced(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the local means of each layer's maps, [N, C, h, w] -> the same shapes."""
        return {layer: self._mean(maps[layer]) for layer in self.shapes}

    def _mean(self, values: Tensor) -> Tensor:
        around = SIDE // 2
        if self.padding == "reflect":
            return F.avg_pool2d(F.pad(values, (around,) * 4, mode="reflect"), SIDE, stride=1)
        return F.avg_pool2d(values, SIDE, stride=1, padding=around, count_include_pad=True)
