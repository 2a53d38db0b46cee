"""Copies between the host and a device that no one waits for before the numbers are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")


def to_device(array: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy an array to a device; to a GPU from page-locked memory, so that the host goes on at once."""
    if device.type != "cuda":
        return torch.from_numpy(np.array(array)).to(device)
    # PyTorch hands this memory out again only after the copy from it is done.
    locked = torch.empty(array.shape, dtype=torch.uint8, pin_memory=True)
    np.copyto(locked.numpy(), array)
    return locked.to(device, non_blocking=True)


def from_device(tensors: Sequence[Tensor]) -> Callable[[], list[NDArray[Any]]]:
    """Begin to copy tensors to the host; the call that is returned waits for the copies, and gives them as arrays.

    They keep type and memory format.
    """
    if not tensors[0].is_cuda:
        return lambda: [tensor.numpy() for tensor in tensors]
    locked = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
    for target, tensor in zip(locked, tensors, strict=True):
        target.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(tensors[0].device))

    def finish() -> list[NDArray[Any]]:
        done.synchronize()
        return [np.array(copy.numpy()) for copy in locked]  # page-locked memory is scarce

    return finish


def one_ahead(values: Iterator[T]) -> Iterator[T]:
    """Yield values in their order, each when the next one has been taken: a GPU works while the host waits for it."""
    before = next(values, None)
    for value in values:
        assert before is not None
        yield before
        before = value
    if before is not None:
        yield before
