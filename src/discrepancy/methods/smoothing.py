"""Gaussian smoothing of maps, and their peaks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Smooth maps [N, H, W] by a Gaussian, sigma in px, reflected borders, cut off at 4 sigma; 0 changes nothing."""
    if sigma <= 0:
        return maps
    reach = min(int(4 * sigma + 0.5), min(maps.shape[-2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(maps.unsqueeze(1), (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).squeeze(1)


def peak(maps: Tensor, share: float) -> Tensor:
    """Return the mean of the highest values of each map [N, H, W], [N].

    Args:
        maps: the maps.
        share: of the map's values, 0 to 1; 0: the highest value alone.
    """
    values = maps.flatten(1)
    return values.topk(max(1, round(share * values.shape[1])), sorted=False).values.mean(1)
