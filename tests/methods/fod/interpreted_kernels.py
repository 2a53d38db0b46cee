"""Runs FOD's kernels in Triton's interpreter, on the CPU, and prints how far they are from the dense matrices.

A process of its own: Triton decides when it is imported whether it interprets.
"""

import json

import torch

from discrepancy.methods.fod import correlation, correlation_kernels
from discrepancy.methods.fod.targets import Gaussians
from tests.methods.fod import test_correlation as dense

CASES = [
    {"images": 2, "heads": 2, "grid": (4, 4), "width": 4, "block": 1 << 18},
    {"images": 2, "heads": 2, "grid": (3, 5), "width": 4, "block": 30},  # two rows of a map at a time
    {"images": 1, "heads": 3, "grid": (5, 6), "width": 8, "block": 1},
    {"images": 3, "heads": 1, "grid": (1, 7), "width": 2, "block": 100},  # two maps at a time
]
LOSS_WEIGHTS = correlation.LossWeights(0.7, -0.4, 0.2)


def deviations(*, images, heads, grid, width, block):
    """Largest deviations over largest values: output, gradients, means of J and H, divergences."""
    inputs = dense.tensors(images, heads, grid, width)
    found = results(inputs, grid, block)
    queries, keys, _, sigma = inputs
    learnt, goal = dense.naive_fod.weights(queries, keys), dense.naive_fod.target(sigma, grid)
    output, objective = dense.naive_objective(*inputs, grid, LOSS_WEIGHTS)
    divergences = dense.naive_fod.divergence(goal, learnt)
    means = torch.stack([divergences.mean(), dense.naive_fod.entropy(learnt).mean()])
    gradients = dense.gradients((output, objective), inputs)
    expected = [output, *gradients, means, output, divergences.mean(1)]
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)]


def results(inputs, grid, block):
    """The same by the kernels in float32."""
    correlation.kernels_for = lambda gaussians: correlation_kernels
    correlation.BLOCK["cpu"] = block
    single = [tensor.detach().float().requires_grad_() for tensor in inputs]
    gaussians, tally = Gaussians(single[3], grid), torch.zeros(2)
    outputs = correlation.adversarial_attention(*single[:3], gaussians, LOSS_WEIGHTS, tally)
    gradients = dense.gradients(outputs, single)
    return [outputs[0], *gradients, tally, *correlation.attention_with_divergence(*single[:3], gaussians)]


if __name__ == "__main__":
    print(json.dumps([deviations(**case) for case in CASES]))  # noqa: T201 (read by the test)
