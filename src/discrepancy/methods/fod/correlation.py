"""Learnt correlations, their Gaussian targets, and adversarial attention (Focus the Discrepancy, ICCV 2023).

A token's correlations are its attention weights S over all tokens of a grid. Its target T is a Gaussian on that grid,
centred on the token, of learnt widths. Training moves S and T towards or away from each other by the symmetric
Kullback-Leibler divergence J. It also changes S by its entropy H; each of the three has a weight of its own:

    J_i = sum_j (T_ij - S_ij) (log(T_ij + eps) - log(S_ij + eps)),    H_i = -sum_j S_ij log(S_ij + eps)

No tokens x tokens map outlives a block of rows here. The attention's output comes from a fused kernel, and S, T and
all gradients are made block by block in the backward pass. What is kept for it grows with the tokens, not with their
square.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-4
"""Added inside the logarithms."""

BLOCK = {"cpu": 1 << 17, "cuda": 1 << 25}
"""Elements of one block: on a CPU the few arrays of half a MiB stay in the caches, a GPU needs few large launches."""


class LossWeights(NamedTuple):
    """Weights of the adversarial objective by gradient: positive ones descend, negative ones ascend.

    Attributes:
        learnt: of J, for the learnt correlations S.
        target: of J, for the targets T.
        entropy: of H, for the learnt correlations S.
    """

    learnt: float
    target: float
    entropy: float


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


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Compute attention without its weights: queries, keys, values [N, heads, tokens, width] -> the same shape."""
    return F.scaled_dot_product_attention(queries, keys, values)


def adversarial_attention(
    queries: Tensor, keys: Tensor, values: Tensor, targets: Targets, loss_weights: LossWeights, tally: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute attention with the adversarial objective between its weights S and the targets T.

    The second result is a scalar of value 0 to be added to the loss. Its gradient with respect to S is that of `learnt`
    J + `entropy` H, and with respect to T that of `target` J. Both are averaged over images, heads and tokens. So one
    backward pass replaces the two of the paper's losses with stopped gradients.

    Args:
        queries: [N, heads, tokens, width], as are keys and values; float32 or float64, the computation's type.
        keys: the same shape.
        values: the same shape.
        targets: of [N, heads, tokens, cells].
        loss_weights: weights of the adversarial objective.
        tally: [2], to which the backward pass adds the means of J and H over images, heads and tokens.

    Returns:
        The attention's output [N, heads, tokens, width], and the scalar.
    """
    output: tuple[Tensor, Tensor] = _AdversarialAttention.apply(queries, keys, values, *targets, loss_weights, tally)
    return output


class _AdversarialAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        rows: Tensor,
        columns: Tensor,
        loss_weights: LossWeights,
        tally: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(queries, keys, values, rows, columns)
        ctx.loss_weights, ctx.tally = loss_weights, tally
        return attention(queries, keys, values), queries.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_output: Tensor, of_objective: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, rows, columns = (_joined(tensor) for tensor in ctx.saved_tensors)
        scale = queries.shape[-1] ** -0.5
        share = of_objective / queries.shape[:2].numel()  # of the mean over images, heads and tokens
        of_output = _joined(of_output)
        of_queries, of_rows, of_columns = (torch.empty_like(tensor) for tensor in (queries, rows, columns))
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        for heads, tokens in _blocks(queries.shape[0], queries.shape[1], keys.shape[1], queries.device):
            query, key, value = queries[heads, tokens], keys[heads], values[heads]
            learnt = attention_weights(query, key)
            of_learnt, of_target, amounts = _objective_gradients(
                learnt, rows[heads, tokens], columns[heads, tokens], ctx.loss_weights
            )
            ctx.tally += amounts / queries.shape[:2].numel()
            of_rows[heads, tokens], of_columns[heads, tokens] = _of_factors(
                of_target.mul_(share), rows[heads, tokens], columns[heads, tokens]
            )
            output = of_output[heads, tokens]
            of_values[heads].baddbmm_(learnt.transpose(1, 2), output)
            of_learnt.mul_(share).baddbmm_(output, value.transpose(1, 2))
            of_logits = torch.ops.aten._softmax_backward_data(of_learnt, learnt, -1, learnt.dtype)
            torch.baddbmm(of_queries[heads, tokens], of_logits, key, beta=0, alpha=scale, out=of_queries[heads, tokens])
            of_keys[heads].baddbmm_(of_logits.transpose(1, 2), query, alpha=scale)
        shapes = [tensor.shape for tensor in ctx.saved_tensors]
        gradients = (of_queries, of_keys, of_values, of_rows, of_columns)
        return *(gradient.view(shape) for gradient, shape in zip(gradients, shapes, strict=True)), None, None


def _objective_gradients(
    learnt: Tensor, rows: Tensor, columns: Tensor, loss_weights: LossWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of the adversarial objective with respect to S and T, and the sums of J and H, for one block.

    With s = S + eps, t = T + eps and r = t / s, up to terms that are constant along a row, which softmax ignores:

        dJ/dS = -log r - r,    dJ/dT = log r - 1 / r,    dH/dS = -log s + eps / s

    Args:
        learnt: S, [n, tokens, tokens]; unchanged.
        rows: of T, [n, tokens, grid rows].
        columns: of T, [n, tokens, grid columns].
        loss_weights: weights of the adversarial objective.

    Returns:
        Weighed gradients of S and of T, both [n, tokens, tokens], and [2]: J_i and H_i summed over the block's rows.
    """
    target = Targets(rows, columns).dense().add_(EPSILON)
    shifted = learnt + EPSILON
    inverse = shifted.reciprocal()
    ratio = target * inverse
    logarithm = ratio.log()
    divergence = torch.dot(target.sub_(shifted).flatten(), logarithm.flatten())
    of_target = ratio.reciprocal().neg_().add_(logarithm).mul_(loss_weights.target)
    of_learnt = logarithm.add_(ratio).mul_(-loss_weights.learnt)
    surprise = inverse.log()  # -log s
    entropy = torch.dot(learnt.flatten(), surprise.flatten())
    if loss_weights.entropy:
        of_learnt.add_(surprise, alpha=loss_weights.entropy).add_(inverse, alpha=loss_weights.entropy * EPSILON)
    return of_learnt, of_target, torch.stack([divergence, entropy])


def _of_factors(of_target: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the targets' factors from that of the dense targets [n, tokens, tokens].

    The latter is overwritten.
    """
    grids = of_target.view(-1, rows.shape[-1], columns.shape[-1])
    of_columns = torch.bmm(rows.flatten(0, 1).unsqueeze(1), grids).view_as(columns)
    of_rows = grids.mul_(columns.flatten(0, 1).unsqueeze(1)).sum(-1).view_as(rows)
    return of_rows, of_columns


@torch.no_grad()
def attention_with_divergence(queries: Tensor, keys: Tensor, values: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Compute attention and the divergence of its weights from their targets; for scoring.

    Args:
        queries: [N, heads, tokens, width], as are keys and values; float32 or float64.
        keys: the same shape.
        values: the same shape.
        targets: of [N, heads, tokens, cells].

    Returns:
        The attention's output [N, heads, tokens, width], and J_i, the mean over heads, [N, tokens].
    """
    shape = queries.shape
    queries, keys, values, rows, columns = (_joined(tensor) for tensor in (queries, keys, values, *targets))
    output = torch.empty_like(queries)
    divergences = queries.new_empty(queries.shape[:2])
    for heads, tokens in _blocks(queries.shape[0], queries.shape[1], keys.shape[1], queries.device):
        learnt = attention_weights(queries[heads, tokens], keys[heads])
        output[heads, tokens] = torch.bmm(learnt, values[heads])
        target = Targets(rows[heads, tokens], columns[heads, tokens]).dense()
        divergences[heads, tokens] = divergence(learnt, target)
    return output.view(shape), divergences.view(shape[:3]).mean(1)


def divergence(learnt: Tensor, target: Tensor) -> Tensor:
    """Compute J_i = KL(T, S) + KL(S, T) of each row: S, T [..., tokens, tokens] -> [..., tokens]."""
    difference = target - learnt
    ratio = target.add(EPSILON).div_(learnt + EPSILON)
    return difference.mul_(ratio.log_()).sum(-1)


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Compute correlations S of some tokens with all: [n, rows, width], [n, tokens, width] -> [n, rows, tokens]."""
    empty, scale = queries.new_empty(()), queries.shape[-1] ** -0.5
    return torch.softmax(torch.baddbmm(empty, queries, keys.transpose(1, 2), beta=0, alpha=scale), -1)


def _joined(tensor: Tensor) -> Tensor:
    """Merge images and heads into one axis: [N, heads, ...] -> [N heads, ...]."""
    return tensor.reshape(-1, *tensor.shape[2:])


def _blocks(maps: int, rows: int, columns: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut [maps, rows, columns] into blocks of whole rows: first among the rows, and many small maps together."""
    size = BLOCK.get(device.type, BLOCK["cuda"])
    height = max(1, min(rows, size // columns))
    depth = max(1, size // (height * columns)) if height == rows else 1
    for first in range(0, maps, depth):
        for top in range(0, rows, height):
            yield slice(first, first + depth), slice(top, top + height)
