"""What may stand between a backbone's maps and the cache: the maps made smaller, or smoothed, before they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Reduction(Protocol):
    """Turns feature maps into what is kept of them."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its numbers, as JSON values."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        """(C, h, w) of each thing that is kept, by name."""

    def reduced(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps of each layer, [N, C, h, w] -> what is kept, [N, C, h, w] by name."""

    def to(self, device: torch.device) -> nn.Module:
        """Move what it computes with to a device."""
