"""The fused attention and its adversarial objective against dense matrices and automatic differentiation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.methods.fod import correlation
from discrepancy.methods.fod.correlation import (
    LossWeights,
    adversarial_attention,
    attention_weights,
    attention_with_divergence,
)
from discrepancy.methods.fod.targets import Gaussians, gaussian_targets
from tests.methods.fod import naive_fod

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 6))


def tensors(images, heads, grid, width, seed=0, dtype=torch.float64):
    """Queries, keys, values and sigma, all to be differentiated."""
    generator = torch.Generator().manual_seed(seed)
    tokens = grid[0] * grid[1]
    three = [torch.randn(images, heads, tokens, width, dtype=dtype, generator=generator) for _ in range(3)]
    sigma = 0.05 + 1.9 * torch.rand(images, heads, tokens, 2, dtype=dtype, generator=generator)
    return [tensor.requires_grad_() for tensor in (*three, sigma)]


def naive_objective(queries, keys, values, sigma, grid, loss_weights):
    learnt, goal = naive_fod.weights(queries, keys), naive_fod.target(sigma, grid)
    objective = (
        loss_weights.learnt * naive_fod.divergence(goal.detach(), learnt).mean()
        + loss_weights.target * naive_fod.divergence(goal, learnt.detach()).mean()
        + loss_weights.entropy * naive_fod.entropy(learnt).mean()
    )
    return learnt @ values, objective


def gradients(outputs, inputs, seed=1):
    """Of a random projection of the attention's output, plus the adversarial objective."""
    output, objective = outputs
    direction = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.autograd.grad((output * direction.to(output.dtype)).mean() + objective, inputs, allow_unused=True)


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@settings(max_examples=30, deadline=None)
@given(grid=GRIDS, smallest=st.sampled_from([1.1e-5, 1e-3, 0.3, 1.9]), seed=st.integers(0, 100))
def test_targets_are_row_normalised_gaussians(grid, smallest, seed):
    generator = torch.Generator().manual_seed(seed)
    sigma = smallest + 0.1 * torch.rand(2, grid[0] * grid[1], 2, dtype=torch.float64, generator=generator)
    dense = gaussian_targets(sigma, grid).dense()
    torch.testing.assert_close(dense, naive_fod.target(sigma, grid), rtol=1e-12, atol=1e-15)


def test_the_narrowest_targets_have_finite_gradients():
    sigma = torch.full((1, 12, 2), 1.1e-5, requires_grad=True)
    rows, columns = gaussian_targets(sigma, (3, 4))
    (rows.square().sum() + columns.square().sum()).backward()
    assert sigma.grad.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 3),
    heads=st.integers(1, 3),
    grid=GRIDS,
    width=st.integers(1, 4),
    loss_weights=st.tuples(*[st.sampled_from([-0.5, 0.0, 0.3])] * 3),
    block=st.sampled_from([1, 7, 60, 1 << 18]),
)
def test_one_backward_pass_has_the_gradients_of_the_dense_objective(images, heads, grid, width, loss_weights, block):
    inputs, loss_weights, tally = (
        tensors(images, heads, grid, width),
        LossWeights(*loss_weights),
        torch.zeros(2, dtype=torch.float64),
    )
    queries, keys, values, sigma = inputs
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(correlation.BLOCK, "cpu", block)
        found = adversarial_attention(queries, keys, values, Gaussians(sigma, grid), loss_weights, tally)
        ours = gradients(found, inputs)
    expected = naive_objective(*inputs, grid, loss_weights)
    torch.testing.assert_close(found[0], expected[0])
    assert found[1].item() == 0
    for one, other in zip(ours, gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)
    learnt = naive_fod.weights(queries, keys)
    means = [naive_fod.divergence(naive_fod.target(sigma, grid), learnt).mean(), naive_fod.entropy(learnt).mean()]
    torch.testing.assert_close(tally, torch.stack(means).detach())


def test_in_float32_the_gradients_are_those_of_float64():
    grid = (16, 16)
    inputs = tensors(1, 4, grid, 16)
    single = [tensor.detach().float().requires_grad_() for tensor in inputs]
    loss_weights = LossWeights(-0.5, 0.5, -0.5)
    queries, keys, values, sigma = single
    tally = torch.zeros(2)
    ours = gradients(adversarial_attention(queries, keys, values, Gaussians(sigma, grid), loss_weights, tally), single)
    assert_close(ours, gradients(naive_objective(*inputs, grid, loss_weights), inputs), 1e-5)


def test_one_reference_for_many_images_gathers_their_gradients():
    grid = (3, 4)
    queries, _, _, sigma = tensors(3, 2, grid, 4)
    _, keys, values, _ = tensors(1, 2, grid, 4, seed=5)
    inputs = [queries, keys, values, sigma]
    loss_weights, tally = LossWeights(0.5, -0.5, 0.5), torch.zeros(2, dtype=torch.float64)
    spread = [part.expand_as(queries) for part in (keys, values)]
    ours = gradients(adversarial_attention(queries, *spread, Gaussians(sigma, grid), loss_weights, tally), inputs)
    assert_close(ours, gradients(naive_objective(*inputs, grid, loss_weights), inputs), 1e-12)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_tokens_squared():
    kept = {}
    for side in (8, 16):
        inputs, sizes = tensors(1, 2, (side, side), 4), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            gaussians = Gaussians(inputs[3], (side, side))
            adversarial_attention(*inputs[:3], gaussians, LossWeights(1, 1, 1), torch.zeros(2, dtype=torch.float64))
        kept[side] = sum(sizes)
    tokens = 16 * 16
    assert kept[16] < tokens**2  # a single map of one of the two heads
    assert kept[16] / kept[8] < 10  # 4 by tokens alone, 8 by the factors of the targets, 16 by tokens squared


@pytest.mark.parametrize("block", [1, 30, 1 << 18])
def test_compared_attention_gives_output_and_divergence(block, monkeypatch):
    monkeypatch.setitem(correlation.BLOCK, "cpu", block)
    grid = (3, 5)
    queries, keys, values, sigma = tensors(2, 3, grid, 4)
    output, divergence = attention_with_divergence(queries, keys, values, Gaussians(sigma, grid))
    learnt = naive_fod.weights(queries, keys)
    torch.testing.assert_close(output, learnt @ values)
    torch.testing.assert_close(divergence, naive_fod.divergence(naive_fod.target(sigma, grid), learnt).mean(1))


def test_weights_of_chosen_tokens_are_rows_of_all_weights():
    queries, keys, _, _ = tensors(2, 1, (3, 4), 5)
    flat = [part.flatten(0, 1).detach() for part in (queries, keys)]
    rows = attention_weights(flat[0][:, 4:6], flat[1])
    np.testing.assert_allclose(rows, naive_fod.weights(*flat)[:, 4:6], rtol=1e-12)
