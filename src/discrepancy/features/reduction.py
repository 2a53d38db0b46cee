"""Interface of reductions between a backbone's maps and the cache: the maps made smaller, or smoothed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Reduction(Protocol):
    """A map from feature maps to the cached features."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Values that decide its numbers, as JSON values."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        """(C, h, w) of each cached feature, by name."""

    def reduced(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reduce the maps of each layer, [N, C, h, w] -> cached features, [N, C, h, w] by name."""

    def to(self, device: torch.device) -> nn.Module:
        """Move its tensors to a device."""
