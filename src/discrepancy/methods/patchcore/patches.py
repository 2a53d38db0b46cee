"""PatchCore's locally aware patch features: neighbourhoods averaged, layers brought to one grid and one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURHOOD = 3
"""Side of the neighbourhood p of a patch, in cells of its layer's map; the paper's."""


def patch_grid(shapes: Mapping[str, tuple[int, int, int]]) -> tuple[int, int]:
    """Return rows and columns of the patches: those of the finest of the layers, given (C, h, w) of each."""
    return max(height for _, height, _ in shapes.values()), max(width for _, _, width in shapes.values())


def patch_length(shapes: Mapping[str, tuple[int, int, int]], dimension: int | None) -> int:
    """Return the length of the patch features of layers of these shapes (C, h, w)."""
    return dimension or sum(channels for channels, _, _ in shapes.values())


def patch_features(
    maps: Sequence[Tensor], *, dimension: int | None, padding: Literal["reflect", "zeros"] = "reflect"
) -> Tensor:
    """Return a feature of each patch, which describes its neighbourhood in all layers (section 3.1 of the paper).

    Args:
        maps: of each layer, [N, C, h, w].
        dimension: length to which the features of each layer, and then all of them joined, are adaptively averaged;
            None joins the layers' channels as they are.
        padding: values beyond the border of the maps.

    Returns:
        float32 [N, rows, columns, length], on the grid of the finest layer.
    """
    grid = max(values.shape[2] for values in maps), max(values.shape[3] for values in maps)
    parts = [_on_grid(_averaged(values.float(), padding), grid).permute(0, 2, 3, 1) for values in maps]
    if dimension is None:
        return torch.cat(parts, dim=3)
    return _pooled(torch.cat([_pooled(part, dimension) for part in parts], dim=3), dimension)


def _averaged(values: Tensor, padding: str) -> Tensor:
    """Averages over neighbourhoods, [N, C, h, w] as before."""
    reach = NEIGHBOURHOOD // 2
    if padding == "reflect":
        return F.avg_pool2d(F.pad(values, (reach,) * 4, mode="reflect"), NEIGHBOURHOOD, stride=1)
    return F.avg_pool2d(values, NEIGHBOURHOOD, stride=1, padding=reach)


def _on_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    return values if values.shape[2:] == grid else F.interpolate(values, grid, mode="bilinear")


def _pooled(values: Tensor, dimension: int) -> Tensor:
    """[N, h, w, C] -> [N, h, w, dimension]."""
    count, height, width, channels = values.shape
    if channels == dimension:
        return values
    return F.adaptive_avg_pool1d(values.reshape(count, height * width, channels), dimension).unflatten(
        1, (height, width)
    )
