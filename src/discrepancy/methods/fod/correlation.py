"""Learnt correlations, and adversarial attention between them and their targets (Focus the Discrepancy, ICCV 2023).

A token's correlations are its attention weights S over all tokens of a grid. Its target T is a Gaussian on that grid,
centred on the token, of learnt widths. Training moves S and T towards or away from each other by the symmetric
Kullback-Leibler divergence J. It also changes S by its entropy H; each of the three has a weight of its own:

    J_i = sum_j (T_ij - S_ij) (log(T_ij + eps) - log(S_ij + eps)),    H_i = -sum_j S_ij log(S_ij + eps)

No tokens x tokens map outlives a block of rows here. The attention's output comes from a fused kernel, and S, T and
all gradients are made block by block in the backward pass. What is kept for it grows with the tokens, not with their
square. On a GPU with Triton each block takes one kernel for all that is no matrix product (`correlation_kernels.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from discrepancy.methods.fod.targets import Gaussians, Targets

logger = logging.getLogger(__name__)

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


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Compute attention without its weights: queries, keys, values [N, heads, tokens, width] -> the same shape."""
    return F.scaled_dot_product_attention(queries, keys, values)


def adversarial_attention(
    queries: Tensor, keys: Tensor, values: Tensor, gaussians: Gaussians, loss_weights: LossWeights, tally: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute attention with the adversarial objective between its weights S and the targets T.

    The second result is a scalar of value 0 to be added to the loss. Its gradient with respect to S is that of `learnt`
    J + `entropy` H, and with respect to T that of `target` J. Both are averaged over images, heads and tokens. So one
    backward pass replaces the two of the paper's losses with stopped gradients.

    Args:
        queries: [N, heads, tokens, width], as are keys and values; float32 or float64, the computation's type.
        keys: the same shape.
        values: the same shape.
        gaussians: the targets, of widths [N, heads, tokens, 2].
        loss_weights: weights of the adversarial objective.
        tally: [2], to which the backward pass adds the means of J and H over images, heads and tokens.

    Returns:
        The attention's output [N, heads, tokens, width], and the scalar.
    """
    output: tuple[Tensor, Tensor]
    if kernels_for(gaussians):
        output = _FusedAdversarialAttention.apply(queries, keys, values, *gaussians, loss_weights, tally)
    else:
        targets = gaussians.targets()
        output = _AdversarialAttention.apply(queries, keys, values, *targets, loss_weights, tally)
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


class _FusedAdversarialAttention(torch.autograd.Function):
    """The same by kernels, down to the gradients of the targets' widths."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        sigma: Tensor,
        grid: tuple[int, int],
        loss_weights: LossWeights,
        tally: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(queries, keys, values, sigma)
        ctx.grid, ctx.loss_weights, ctx.tally = grid, loss_weights, tally
        return attention(queries, keys, values), queries.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_output: Tensor, of_objective: Tensor) -> tuple[Tensor | None, ...]:
        kernels = kernels_for(Gaussians(ctx.saved_tensors[3], ctx.grid))
        assert kernels is not None
        queries, keys, values, sigma = (_joined(tensor) for tensor in ctx.saved_tensors)
        sigma, of_output = sigma.contiguous(), _joined(of_output)
        scale, count = queries.shape[-1] ** -0.5, queries.shape[:2].numel()
        loss_weights = [weight / count for weight in ctx.loss_weights]  # of the mean over images, heads and tokens
        of_queries, of_keys, of_values, of_sigma = map(torch.empty_like, (queries, keys, values, sigma))
        for heads, tokens in _blocks(queries.shape[0], queries.shape[1], keys.shape[1], queries.device):
            query, key, value, output = queries[heads, tokens], keys[heads], values[heads], of_output[heads, tokens]
            learnt, of_logits = _logits(query, key), torch.bmm(output, value.transpose(1, 2))
            of_sigma[heads, tokens], amounts = kernels.objective_gradients(
                learnt,
                of_logits,
                sigma[heads, tokens],
                ctx.grid,
                loss_weights,
                epsilon=EPSILON,
                factor=of_objective,
                first=tokens.start,
            )
            ctx.tally.add_(amounts.sum(1), alpha=1 / count)
            _multiply_into(of_queries[heads, tokens], of_logits, key, alpha=scale)
            added = tokens.start > 0  # to what the rows before gave
            _multiply_into(of_keys[heads], of_logits.transpose(1, 2), query, alpha=scale, added=added)
            _multiply_into(of_values[heads], learnt.transpose(1, 2), output, added=added)
        gradients = (of_queries, of_keys, of_values, of_sigma)
        shapes = [tensor.shape for tensor in ctx.saved_tensors]
        return *(part.view(shape) for part, shape in zip(gradients, shapes, strict=True)), None, None, None


def _multiply_into(target: Tensor, one: Tensor, other: Tensor, *, alpha: float = 1.0, added: bool = False) -> None:
    """Set a target to a product, or add it there."""
    torch.baddbmm(target, one, other, beta=float(added), alpha=alpha, out=target)


def kernels_for(gaussians: Gaussians) -> ModuleType | None:
    """Return the module of the kernels, where they run and a row of the grid is not too large for them; else None."""
    if not (gaussians.sigma.is_cuda and gaussians.sigma.dtype == torch.float32):
        return None
    kernels = _kernels(gaussians.sigma.device)
    return kernels if kernels and kernels.fits(gaussians.grid) else None


@cache
def _kernels(device: torch.device) -> ModuleType | None:
    """Return the module of the kernels if they run on a device; Triton may be missing, or a compiler that it needs."""
    try:
        kernels = import_module("discrepancy.methods.fod.correlation_kernels")
        kernels.divergences(
            torch.zeros(1, 1, 1, device=device), torch.ones(1, 1, 2, device=device), (1, 1), epsilon=EPSILON, first=0
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever is missing, there is another way
        logger.info("fod: Triton does not run on %s (%s); PyTorch's own operations are slower", device, error)
        return None
    return kernels


@torch.no_grad()
def attention_with_divergence(
    queries: Tensor, keys: Tensor, values: Tensor, gaussians: Gaussians
) -> tuple[Tensor, Tensor]:
    """Compute attention and the divergence of its weights from their targets; for scoring.

    Args:
        queries: [N, heads, tokens, width], as are keys and values; float32 or float64.
        keys: the same shape.
        values: the same shape.
        gaussians: the targets, of widths [N, heads, tokens, 2].

    Returns:
        The attention's output [N, heads, tokens, width], and J_i, the mean over heads, [N, tokens].
    """
    shape, kernels = queries.shape, kernels_for(gaussians)
    queries, keys, values = (_joined(tensor) for tensor in (queries, keys, values))
    described = [_joined(gaussians.sigma).contiguous()] if kernels else list(map(_joined, gaussians.targets()))
    output = torch.empty_like(queries)
    divergences = queries.new_empty(queries.shape[:2])
    for heads, tokens in _blocks(queries.shape[0], queries.shape[1], keys.shape[1], queries.device):
        parts = [tensor[heads, tokens] for tensor in described]
        if kernels:
            learnt = _logits(queries[heads, tokens], keys[heads])
            divergences[heads, tokens] = kernels.divergences(
                learnt, *parts, gaussians.grid, epsilon=EPSILON, first=tokens.start
            )
        else:
            learnt = attention_weights(queries[heads, tokens], keys[heads])
            divergences[heads, tokens] = divergence(learnt, Targets(*parts).dense())
        output[heads, tokens] = torch.bmm(learnt, values[heads])
    return output.view(shape), divergences.view(shape[:3]).mean(1)


def divergence(learnt: Tensor, target: Tensor) -> Tensor:
    """Compute J_i = KL(T, S) + KL(S, T) of each row: S, T [..., tokens, tokens] -> [..., tokens]."""
    difference = target - learnt
    ratio = target.add(EPSILON).div_(learnt + EPSILON)
    return difference.mul_(ratio.log_()).sum(-1)


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Compute correlations S of some tokens with all: [n, rows, width], [n, tokens, width] -> [n, rows, tokens]."""
    return torch.softmax(_logits(queries, keys), -1)


def _logits(queries: Tensor, keys: Tensor) -> Tensor:
    empty, scale = queries.new_empty(()), queries.shape[-1] ** -0.5
    return torch.baddbmm(empty, queries, keys.transpose(1, 2), beta=0, alpha=scale)


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
