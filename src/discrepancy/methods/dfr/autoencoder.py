"""DFR's autoencoder: 1x1 convolutions as linear layers over positions, trained with few matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.methods.dfr.regions import Regions
from discrepancy.training.batch_norm import BatchNorm

ALIGNED = 8
"""Widths are multiples of this many numbers: 32 bytes in float32, 16 in bfloat16."""


class Autoencoder(nn.Module):
    """Six linear layers over positions: C -> h -> 2d -> d -> 2d -> h -> C, h = (C + 2d) // 2 (DFR, appendix B).

    ReLU after all but the third and the last, batch normalisation before it where wanted. Biases and initialisation as
    PyTorch's convolutions have them. The paper's text says h = (C + d) // 2; published sizes of weights fit 2d.

    Inside, widths are rounded up to a multiple of 8 by idle units: all their weights start at 0 and stay there, since
    their gradients are 0. Matrix products are faster so: rows of 2126 values are aligned neither for
    SIMD loads nor for a GPU's tensor cores, rows of 2128 are.

    Args:
        channels: C, of the regional features.
        latent_dim: d.
        batch_norm: normalise over all positions of a batch.

    Attributes:
        widths: the seven widths from C to C, idle units left out.
    """

    def __init__(self, channels: int, latent_dim: int, *, batch_norm: bool) -> None:
        super().__init__()
        hidden, middle = (channels + 2 * latent_dim) // 2, 2 * latent_dim
        self.widths = (channels, hidden, middle, latent_dim, middle, hidden, channels)
        inner = [-(-width // ALIGNED) * ALIGNED for width in self.widths[1:-1]]
        padded = (channels, *inner, channels)
        self.linears = nn.ModuleList(
            _with_idle_units(nn.Linear(*true), *wider)
            for true, wider in zip(pairwise(self.widths), pairwise(padded), strict=True)
        )
        self.norms = nn.ModuleDict({str(index): BatchNorm(padded[index + 1]) for index in (0, 1, 3, 4) if batch_norm})

    def forward(self, features: Tensor) -> Tensor:
        """Reconstruct features of positions, [R, C] -> [R, C]."""
        return self.output(self.hidden(self.linears[0](features)))

    def hidden(self, first: Tensor) -> Tensor:
        """Compute the last layer's input from the first layer's output, [R, h] -> [R, h]."""
        values = self._activated(0, first)
        values = self._activated(1, self.linears[1](values))
        values = self.linears[2](values)
        values = self._activated(3, self.linears[3](values))
        return self._activated(4, self.linears[4](values))

    def output(self, hidden: Tensor) -> Tensor:
        """Apply the last layer, [R, h] -> [R, C]."""
        features: Tensor = self.linears[5](hidden)
        return features

    def _activated(self, index: int, values: Tensor) -> Tensor:
        if str(index) in self.norms:
            values = self.norms[str(index)](values)
        return F.relu(values, inplace=True)

    def first(self, kept: Sequence[Tensor], regions: Regions) -> Tensor:
        """Apply the first layer on the cached grids and align afterwards: [N, h, w, C] by group -> [R, h].

        Exact, since mixing channels commutes with the alignment, whose rows sum to 1, so that the bias passes too. A
        group on a grid of half the cells per side takes a quarter of the operations.

        Args:
            kept: features of each group on its own grid, in the order of the groups.
            regions: aligns them.
        """
        linear = self.linears[0]
        assert isinstance(linear, nn.Linear)
        total = None
        for group, features, weight in zip(regions.groups, kept, linear.weight.split(regions.split, 1), strict=True):
            part = regions.expand(group.name, F.linear(features, weight, linear.bias if total is None else None))
            total = part if total is None else total + part
        assert total is not None
        return total.flatten(0, 2)

    @torch.no_grad()
    def compare(self, kept: Sequence[Tensor], regions: Regions) -> tuple[Tensor, Tensor]:
        """Return regional features minus reconstruction, and the reconstruction, [R, C], without gradients.

        Arguments are those of `first`.
        """
        reconstruction = self.output(self.hidden(self.first(kept, regions)))
        residuals = torch.cat(_aligned(kept, regions), 1).sub_(reconstruction)
        return residuals, reconstruction

    def loss(self, kept: Sequence[Tensor], regions: Regions) -> Tensor:
        """Return the mean squared residual over positions and channels, DFR's loss; arguments as of `first`."""
        linear = self.linears[5]
        hidden = self.hidden(self.first(kept, regions))
        targets = _aligned(kept, regions)
        loss: Tensor = _ReconstructionLoss.apply(hidden, linear.weight, linear.bias, regions.split, *targets)
        return loss


def _with_idle_units(linear: nn.Linear, inputs: int, outputs: int) -> nn.Linear:
    """Return the same layer with more inputs and outputs, whose weights and biases are 0."""
    wider = nn.utils.skip_init(nn.Linear, inputs, outputs, device=linear.weight.device)
    with torch.no_grad():
        wider.weight.zero_()[: linear.out_features, : linear.in_features] = linear.weight
        wider.bias.zero_()[: linear.out_features] = linear.bias
    return wider


def _aligned(kept: Sequence[Tensor], regions: Regions) -> list[Tensor]:
    """Yield regional features by group, [R, C]; views if a group is kept on the common grid."""
    groups = zip(regions.groups, kept, strict=True)
    return [regions.expand(group.name, features).flatten(0, 2) for group, features in groups]


def _subtract(result: Tensor, targets: Sequence[Tensor], split: Sequence[int]) -> Tensor:
    """Subtract the targets [R, C_group] from `result` [R, C], in place."""
    for part, target in zip(result.split(list(split), 1), targets, strict=True):
        part.sub_(target)
    return result


class _ReconstructionLoss(torch.autograd.Function):
    """The last layer and the mean squared error in one: three products, and one array of the features' size.

    With residual r = W z + b - f and n elements, the loss is |r|^2 / n; its gradients are 2 r / n times W, z and 1.
    PyTorch's own would hold reconstruction, difference and their gradients at once.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, split: list[int], *targets: Tensor) -> Tensor:
        weight, bias = weight.to(hidden.dtype), bias.to(hidden.dtype)
        residual = _subtract(F.linear(hidden, weight, bias), targets, split)
        ctx.save_for_backward(hidden, weight, residual)
        # In float32 whatever the residual's type, and row by row: one sum over millions of terms loses four digits.
        precise = torch.promote_types(residual.dtype, torch.float32)
        return torch.linalg.vector_norm(residual, dim=1, dtype=precise).square().sum() / residual.numel()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, residual = ctx.saved_tensors
        scale = 2 * grads[0] / residual.numel()
        to_hidden = (residual @ weight).mul_(scale) if ctx.needs_input_grad[0] else None
        to_weight = (residual.T @ hidden).to(grads[0].dtype).mul_(scale)
        to_bias = residual.sum(0, dtype=grads[0].dtype).mul_(scale)
        return to_hidden, to_weight, to_bias, None, *(None for _ in ctx.needs_input_grad[4:])
