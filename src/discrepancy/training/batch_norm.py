"""Batch normalisation over the whole batch, also if it is split over several processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from discrepancy.training.process_group import ProcessGroup, current_group


class Moments(NamedTuple):
    """Moments of the columns of a batch [R, C], over all processes.

    Attributes:
        mean: [C], float64.
        variance: [C], float64, population.
        rows: R.
    """

    mean: Tensor
    variance: Tensor
    rows: Tensor


class BatchNorm(nn.BatchNorm1d):
    """PyTorch's batch normalisation of [R, C]; in a process group, over the rows of all processes.

    Statistics and gradients are exact for shards of different sizes, on a CPU and on a GPU; PyTorch's SyncBatchNorm
    supports GPUs alone.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Normalise values, [R, C] -> [R, C]."""
        group = current_group()
        if group is None or not self.training:
            return super().forward(values)
        moments = whole_moments(values.detach(), group)
        self._remember(moments)
        inverse = (moments.variance + self.eps).rsqrt()
        result: Tensor = _Normalised.apply(
            values, self.weight, self.bias, moments.mean.float(), inverse.float(), moments.rows, group
        )
        return result

    @torch.no_grad()
    def _remember(self, moments: Moments) -> None:
        """Update the running statistics as PyTorch does: the variance without bias."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        unbiased = moments.variance * moments.rows / (moments.rows - 1)
        self.running_mean.lerp_(moments.mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


def whole_moments(values: Tensor, group: ProcessGroup) -> Moments:
    """Compute mean and variance over the rows of all processes, without those whose images do not count.

    They are combined from each process's own mean and variance, which keeps the digits that a difference of large sums
    would lose.

    Args:
        values: this process's rows, [R, C].
        group: the processes.
    """
    variance, mean = torch.var_mean(values.float(), 0, correction=0)
    count = mean.new_tensor([len(values) if group.weight else 0])
    table = group.table(torch.cat([mean, variance, count]).double())
    means, variances = table[:, :-1].chunk(2, 1)
    counts = table[:, -1:]
    total = counts.sum()
    whole = (counts * means).sum(0) / total
    return Moments(whole, (counts * (variances + (means - whole).square())).sum(0) / total, total)


class _Normalised(torch.autograd.Function):
    """x^ = (x - mean) / deviation, y = weight x^ + bias, where mean and deviation depend on the rows of all processes.

    With upstream gradients g and N rows altogether, dx = weight / deviation (g - sum g / N - x^ sum(g x^) / N), both
    sums over all processes. Those of weight and bias are of this process's rows; they are summed with all others later.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        inverse: Tensor,
        count: Tensor,
        group: ProcessGroup,
    ) -> Tensor:
        ctx.save_for_backward(values, weight, mean, inverse, count)
        ctx.group, ctx.counts = group, group.weight > 0
        scale = weight * inverse
        return torch.addcmul(bias - mean * scale, values, scale).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, inverse, count = ctx.saved_tensors
        upstream = grads[0].to(weight.dtype)
        normalised = (values.to(weight.dtype) - mean).mul_(inverse)
        to_bias, to_weight = upstream.sum(0), (upstream * normalised).sum(0)
        of_mean, of_deviation = (ctx.group.sum(torch.cat([to_bias, to_weight])) / count).to(weight.dtype).chunk(2)
        if ctx.counts:  # else no statistic depends on these rows
            upstream = (upstream - of_mean).sub_(normalised.mul_(of_deviation))
        to_values = upstream * (weight * inverse)
        return to_values.to(values.dtype), to_weight, to_bias, None, None, None, None
