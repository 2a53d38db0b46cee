"""FOD's correlations and their Gaussian targets on a GPU: one pass over each token's row of logits, by Triton.

A row is laid out as the grid of tokens. So its target is the outer product of two short vectors, and what the gradients
of the Gaussian's widths need are sums along the grid's rows and columns. Per element only logits are read and only
results are written, where PyTorch's own operations pass over some 60 arrays of this size.

Every sum has a fixed order, so that two runs give the same bits. `correlation.py` has the same in PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST = 1 << 14
"""Elements of the largest row, each side of its grid rounded up to a power of two: it is held in the registers."""


def fits(grid: tuple[int, int]) -> bool:
    """Return whether a row of this grid fits."""
    height, width = _sides(grid)
    return height * width <= LARGEST


def objective_gradients(
    logits: Tensor,
    of_weights: Tensor,
    sigma: Tensor,
    grid: tuple[int, int],
    loss_weights: Sequence[float],
    *,
    epsilon: float,
    factor: Tensor,
    first: int,
) -> tuple[Tensor, Tensor]:
    """Turn logits into correlations S, and gradients with respect to S into those of the logits; both in place.

    Args:
        logits: [maps, rows, tokens], contiguous float32; some rows of each map. S afterwards.
        of_weights: gradients with respect to S that come from the attention's output, the same shape. Afterwards those
            of the logits, the objective's included.
        sigma: widths of the targets along y and x, [maps, rows, 2].
        grid: rows and columns of tokens.
        loss_weights: of J for S, of J for the targets, and of H.
        epsilon: added inside the logarithms.
        factor: of the objective, a scalar tensor.
        first: token of the first row.

    Returns:
        The objective's gradients with respect to sigma, [maps, rows, 2]; and J_i and H_i, [2, maps rows].
    """
    maps, rows, _ = logits.shape
    of_sigma, amounts = torch.empty_like(sigma), sigma.new_empty(2, maps * rows)
    height, width = _sides(grid)
    with torch.cuda.device_of(logits):
        _objective[(maps * rows,)](
            logits,
            of_weights,
            sigma,
            of_sigma,
            amounts,
            factor,
            first,
            rows,
            maps * rows,
            *loss_weights,
            epsilon,
            *grid,
            height,
            width,
            num_warps=_warps(height * width),
        )
    return of_sigma, amounts


def divergences(logits: Tensor, sigma: Tensor, grid: tuple[int, int], *, epsilon: float, first: int) -> Tensor:
    """Turn logits into correlations S in place, and return their divergences J_i from the targets, [maps, rows].

    Args:
        logits: [maps, rows, tokens], contiguous float32; some rows of each map.
        sigma: widths of the targets along y and x, [maps, rows, 2].
        grid: rows and columns of tokens.
        epsilon: added inside the logarithms.
        first: token of the first row.
    """
    maps, rows, _ = logits.shape
    found = logits.new_empty(maps, rows)
    height, width = _sides(grid)
    with torch.cuda.device_of(logits):
        _divergence[(maps * rows,)](
            logits, sigma, found, first, rows, epsilon, *grid, height, width, num_warps=_warps(height * width)
        )
    return found


def _sides(grid: tuple[int, int]) -> tuple[int, int]:
    """Return the sides rounded up to powers of two, as Triton's arrays have them."""
    return triton.next_power_of_2(grid[0]), triton.next_power_of_2(grid[1])


def _warps(elements: int) -> int:
    """Return the warps that share a row: 8 elements for each thread, at most 16 warps."""
    return max(1, min(16, elements // (8 * 32)))


@triton.jit
def _objective(  # noqa: PLR0913, PLR0917 (a kernel takes pointers and numbers one by one)
    logits: tl.tensor,
    of_weights: tl.tensor,
    sigma: tl.tensor,
    of_sigma: tl.tensor,
    amounts: tl.tensor,
    factor: tl.tensor,
    first: tl.tensor,
    height: tl.tensor,
    count: tl.tensor,
    learnt: tl.tensor,
    target: tl.tensor,
    entropy: tl.tensor,
    epsilon: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """One row; the formulas are those of `correlation._objective_gradients`."""
    program = tl.program_id(0).to(tl.int64)
    at, inside = _places(program, ROWS, COLUMNS, HEIGHT, WIDTH)
    weights = _softmax(tl.load(logits + at, inside, other=float("-inf")))
    tl.store(logits + at, weights, inside)

    token = first + (program % height).to(tl.int32)
    along_y, along_x = tl.load(sigma + 2 * program), tl.load(sigma + 2 * program + 1)
    y, squares_y = _gaussian(along_y, token // COLUMNS, ROWS, HEIGHT)
    x, squares_x = _gaussian(along_x, token % COLUMNS, COLUMNS, WIDTH)
    shifted = weights + epsilon
    goal = y[:, None] * x[None, :] + epsilon
    inverse = 1 / shifted
    ratio = goal * inverse
    logarithm = tl.log(ratio)
    surprise = tl.log(inverse)
    tl.store(amounts + program, _total((goal - shifted) * logarithm))
    tl.store(amounts + count + program, _total(weights * surprise))

    scale = tl.load(factor)
    of_learnt = entropy * (surprise + epsilon * inverse) - learnt * (logarithm + ratio)
    gradient = tl.load(of_weights + at, inside, other=0.0) + scale * of_learnt
    gradient = weights * (gradient - _total(weights * gradient))
    tl.store(of_weights + at, gradient, inside)

    of_target = scale * target * (logarithm - shifted / goal)
    of_y = tl.sum(of_target * x[None, :], 1)
    of_x = tl.sum(of_target * y[:, None], 0)
    tl.store(of_sigma + 2 * program, _of_width(of_y, y, squares_y, along_y))
    tl.store(of_sigma + 2 * program + 1, _of_width(of_x, x, squares_x, along_x))


@triton.jit
def _divergence(  # noqa: PLR0913, PLR0917
    logits: tl.tensor,
    sigma: tl.tensor,
    found: tl.tensor,
    first: tl.tensor,
    height: tl.tensor,
    epsilon: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """One row; the formula is that of `correlation.divergence`."""
    program = tl.program_id(0).to(tl.int64)
    at, inside = _places(program, ROWS, COLUMNS, HEIGHT, WIDTH)
    weights = _softmax(tl.load(logits + at, inside, other=float("-inf")))
    tl.store(logits + at, weights, inside)

    token = first + (program % height).to(tl.int32)
    y, _ = _gaussian(tl.load(sigma + 2 * program), token // COLUMNS, ROWS, HEIGHT)
    x, _ = _gaussian(tl.load(sigma + 2 * program + 1), token % COLUMNS, COLUMNS, WIDTH)
    goal = y[:, None] * x[None, :]
    logarithm = tl.log((goal + epsilon) / (weights + epsilon))
    tl.store(found + program, _total((goal - weights) * logarithm))


@triton.jit
def _places(
    program: tl.tensor, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Return where the elements of a row lie, as a grid, and which of them there are."""
    y, x = tl.arange(0, HEIGHT)[:, None], tl.arange(0, WIDTH)[None, :]
    return program * (ROWS * COLUMNS) + y * COLUMNS + x, (y < ROWS) & (x < COLUMNS)


@triton.jit
def _softmax(values: tl.tensor) -> tl.tensor:
    powers = tl.exp(values - tl.max(tl.max(values, 1), 0))
    return powers / _total(powers)


@triton.jit
def _total(values: tl.tensor) -> tl.tensor:
    return tl.sum(tl.sum(values, 1), 0)


@triton.jit
def _gaussian(sigma: tl.tensor, own: tl.tensor, CELLS: tl.constexpr, SIDE: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return a normalised Gaussian along one axis of the grid, and the squares of its distances."""
    cells = tl.arange(0, SIDE)
    squares = ((cells - own) * (cells - own)).to(tl.float32)
    powers = tl.where(cells < CELLS, -squares / (2 * (sigma * sigma)), float("-inf"))
    powers = tl.exp(powers - tl.max(powers, 0))
    return powers / tl.sum(powers, 0), squares


@triton.jit
def _of_width(gradient: tl.tensor, gaussian: tl.tensor, squares: tl.tensor, sigma: tl.tensor) -> tl.tensor:
    """Return the gradient of a Gaussian's width from that of its values."""
    of_powers = gaussian * (gradient - tl.sum(gaussian * gradient, 0))
    return tl.sum(of_powers * squares, 0) / (sigma * sigma * sigma)
