"""Reflection padding by copies: the numbers and gradients of PyTorch's, in the layout of the map."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from discrepancy.features.reflection import ReflectedConv2d, reflected

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (4, 8), (0, 3), (2, 0), (0, 0)])
def test_values_and_gradients_are_pytorchs(rows, columns, layout):
    values = torch.randn(2, 3, 5, 9, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    padded, expected = reflected(values, rows, columns), F.pad(values, (columns, columns, rows, rows), mode="reflect")
    assert torch.equal(padded, expected) and padded.is_contiguous(memory_format=layout)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(result, values, weights)[0] for result in (padded, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_the_convolution_is_pytorchs(monkeypatch, mode):
    torch.manual_seed(0)
    options = {"stride": 2, "padding": 2, "dilation": 2, "padding_mode": mode}
    ours, theirs = ReflectedConv2d(3, 4, 3, **options), nn.Conv2d(3, 4, 3, **options)
    theirs.load_state_dict(ours.state_dict())
    values = torch.randn(2, 3, 9, 11)
    expected = theirs(values)
    assert torch.equal(ours(values), expected)
    on_gpu = values.as_subclass(_SaysItIsOnAGPU)
    torch.testing.assert_close(ours(on_gpu).as_subclass(torch.Tensor), expected)


class _SaysItIsOnAGPU(torch.Tensor):
    is_cuda = True
