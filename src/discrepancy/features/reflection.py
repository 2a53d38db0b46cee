"""Convolutions with reflection padding that stay fast on a GPU.

PyTorch's reflection padding on a GPU returns the channels first and sums gradients in no fixed order. With channels
last, each convolution would then change the layout of its input and of its gradient. Copies of rows and columns keep
the layout, give the same numbers, and sum in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectedConv2d(nn.Conv2d):
    """PyTorch's convolution; on a GPU with reflection padding by copies."""

    def forward(self, values: Tensor) -> Tensor:
        """Convolve a map [N, C, h, w] -> [N, C', h', w']."""
        if self.padding_mode != "reflect" or isinstance(self.padding, str) or not values.is_cuda:
            return super().forward(values)
        padded = reflected(values, *self.padding)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def reflected(values: Tensor, rows: int, columns: int) -> Tensor:
    """Pad a map by reflection: [N, C, h, w] -> [N, C, h + 2 rows, w + 2 columns], in its memory format.

    Args:
        values: the map.
        rows: on each side, fewer than h.
        columns: on each side, fewer than w.
    """
    for axis, pad in ((2, rows), (3, columns)):
        if pad:
            values = _Reflection.apply(values, axis, pad)
    return values


class _Reflection(torch.autograd.Function):
    """Reflection padding of one axis."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, axis: int, pad: int) -> Tensor:
        ctx.axis, ctx.pad = axis, pad
        size = values.shape[axis]
        before = values.narrow(axis, 1, pad).flip(axis)
        return torch.cat([before, values, values.narrow(axis, size - 1 - pad, pad).flip(axis)], axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), axis, pad = grads, ctx.axis, ctx.pad
        size = grad.shape[axis] - 2 * pad
        result = grad.narrow(axis, pad, size).clone(memory_format=torch.preserve_format)
        result.narrow(axis, 1, pad).add_(grad.narrow(axis, 0, pad).flip(axis))
        result.narrow(axis, size - 1 - pad, pad).add_(grad.narrow(axis, size + pad, pad).flip(axis))
        return result, None, None
