"""FOD's kernels beside the same in PyTorch's own operations: numbers and time, of attentions of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from discrepancy.methods.fod import correlation
from discrepancy.methods.fod.targets import Gaussians
from gpu_checks.measure import time_calls
from gpu_checks.options import Options
from gpu_checks.precision import precision

LOSS_WEIGHTS = correlation.LossWeights(-0.5, 0.5, -0.5)


class Shape(NamedTuple):
    """The size of an attention."""

    images: int
    heads: int
    grid: tuple[int, int]
    width: int


SHAPES = (
    Shape(1, 8, (32, 32), 32),  # the two levels at the paper's settings
    Shape(1, 8, (16, 16), 64),
    Shape(8, 8, (32, 32), 32),  # a batch to be scored
    Shape(2, 3, (28, 30), 16),
    Shape(1, 2, (64, 64), 32),
)
NARROWEST = 1.1e-5
"""The smallest width that a target can have."""


def kernels(options: Options, found: dict[str, Any]) -> None:
    """Compare the kernels with PyTorch: deviations from float64, whether two runs are equal, and milliseconds."""
    if not correlation.kernels_for(Gaussians(torch.ones(1, 1, 1, 2, device=options.device), (1, 1))):
        found["skipped"] = "the kernels do not run here"
        return
    found["lines"] = []
    with precision("fp32"):
        for shape in SHAPES:
            found["lines"].append(_line(shape, options.device))


def _line(shape: Shape, device: torch.device) -> dict[str, Any]:
    drawn = [_inputs(shape, smallest, device) for smallest in (0.05, NARROWEST)]
    exact = [_results([tensor.detach().double().requires_grad_() for tensor in inputs], shape) for inputs in drawn]
    found = [_results(inputs, shape) for inputs in drawn]
    again = [_results(inputs, shape) for inputs in drawn]
    times = _times(drawn[0], shape, device)
    with _by_pytorch():
        plain = [_results(inputs, shape) for inputs in drawn]
        plain_times = _times(drawn[0], shape, device)
    return {
        **shape._asdict(),
        "deviation": max(map(_apart, found, exact)),
        "pytorch_deviation": max(map(_apart, plain, exact)),
        "equal": all(
            torch.equal(a, b) for one, two in zip(found, again, strict=True) for a, b in zip(one, two, strict=True)
        ),
        **times,
        **{f"pytorch_{name}": ms for name, ms in plain_times.items()},
    }


def _inputs(shape: Shape, smallest: float, device: torch.device) -> list[Tensor]:
    """Draw queries, keys, values and widths of targets, float32, to be differentiated."""
    generator = torch.Generator().manual_seed(0)
    leading = (shape.images, shape.heads, shape.grid[0] * shape.grid[1])
    drawn = [torch.randn(*leading, shape.width, generator=generator) for _ in range(3)]
    drawn.append(smallest + 1.9 * torch.rand(*leading, 2, generator=generator))
    return [tensor.to(device).requires_grad_() for tensor in drawn]


def _results(inputs: list[Tensor], shape: Shape) -> list[Tensor]:
    """Return the gradients of all inputs, the means of J and H, and what scoring needs."""
    queries, keys, values, sigma = inputs
    gaussians, tally = Gaussians(sigma, shape.grid), sigma.new_zeros(2)
    output, pull = correlation.adversarial_attention(queries, keys, values, gaussians, LOSS_WEIGHTS, tally)
    gradients = torch.autograd.grad(output.square().mean() + pull, inputs)
    return [*gradients, tally, *correlation.attention_with_divergence(queries, keys, values, gaussians)]


def _apart(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest deviation over the largest value, of the worst tensor."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def _times(inputs: list[Tensor], shape: Shape, device: torch.device) -> dict[str, float]:
    """Return milliseconds of an attention's backward pass, and of an attention that is scored."""
    queries, keys, values, sigma = inputs
    gaussians = Gaussians(sigma, shape.grid)
    outputs = correlation.adversarial_attention(queries, keys, values, gaussians, LOSS_WEIGHTS, sigma.new_zeros(2))
    total = outputs[0].square().mean() + outputs[1]
    calls = {
        "backward_ms": lambda: torch.autograd.grad(total, inputs, retain_graph=True),
        "scored_ms": lambda: correlation.attention_with_divergence(queries, keys, values, gaussians),
    }
    return {name: time_calls(call, device, seconds=0.3)["ms"] for name, call in calls.items()}


@contextmanager
def _by_pytorch() -> Iterator[None]:
    before = correlation.kernels_for
    correlation.kernels_for = lambda gaussians: None
    try:
        yield
    finally:
        correlation.kernels_for = before
