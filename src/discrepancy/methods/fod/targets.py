"""Gaussian targets of FOD's correlations, as outer products of two short vectors for each token (ICCV 2023)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """Gaussian targets on the grid of tokens, as outer products: T_ij = rows_i,y(j) columns_i,x(j).

    Attributes:
        rows: [..., tokens, grid rows], each row sums to 1.
        columns: [..., tokens, grid columns], likewise.
    """

    rows: Tensor
    columns: Tensor

    def dense(self) -> Tensor:
        """Return the whole target, [..., tokens, tokens]."""
        return (self.rows.unsqueeze(-1) * self.columns.unsqueeze(-2)).flatten(-2)


class Gaussians(NamedTuple):
    """Targets before they are computed.

    Attributes:
        sigma: widths along y and x in tokens, [..., tokens, 2], above 0.
        grid: rows and columns of tokens.
    """

    sigma: Tensor
    grid: tuple[int, int]

    def targets(self) -> Targets:
        """Compute the targets."""
        return gaussian_targets(self.sigma, self.grid)


def gaussian_targets(sigma: Tensor, grid: tuple[int, int]) -> Targets:
    """Compute row-normalised Gaussians, each centred on its token.

    T_ij is proportional to exp(-dy^2 / (2 sigma_y^2) - dx^2 / (2 sigma_x^2)), dy and dx between tokens i and j. It is
    normalised along both axes by itself, which is the same, and the factor 1 / (2 pi sigma_y sigma_x) cancels.

    Args:
        sigma: widths along y and x in tokens, [..., tokens, 2], above 0.
        grid: rows and columns of tokens.
    """
    return Targets(*(_normalised_gaussians(sigma[..., axis], grid, axis) for axis in (0, 1)))


def _normalised_gaussians(sigma: Tensor, grid: tuple[int, int], axis: int) -> Tensor:
    """Return one axis of the targets: sigma [..., tokens] -> [..., tokens, cells along the axis]."""
    cells = torch.arange(grid[axis], device=sigma.device, dtype=sigma.dtype)
    own = cells[:, None].expand(grid) if axis == 0 else cells.expand(grid)
    squares = (own.reshape(-1, 1) - cells).square()
    return torch.softmax(-squares / (2 * sigma.square()).unsqueeze(-1), -1)
