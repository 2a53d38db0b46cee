"""An estimate of the memory that a training takes of a GPU, before it begins: from one step that computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from discrepancy.devices import Precision

COPIES = 4
"""Tensors of the size of each trained parameter: itself, its gradient, and Adam's two moments."""
TEMPORARIES = 2
"""Tensors of the size of the largest kept one that come and go while gradients are computed."""


def training_bytes(
    detector: nn.Module,
    trained: nn.Module,
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    batch: Mapping[str, Tensor],
    precision: Precision = "fp32",
) -> int:
    """Return about how many bytes one training step takes of a GPU.

    The step runs on fake tensors, which have shapes and no values: it takes neither time nor memory. Counted are the
    weights of the whole detector, gradients and moments, what the forward pass keeps for the backward pass, and the
    batch. Workspaces of the GPU's libraries are not. In `bf16` a GPU takes less than this, as a CPU's mixed precision
    keeps padded maps in float32.

    Args:
        detector: all that goes to the GPU, at present on the CPU.
        trained: the part of it that is trained, by Adam.
        loss: of a batch.
        batch: tensors of one step, on the CPU.
        precision: `bf16` keeps less.
    """
    kept: dict[int, torch.UntypedStorage] = {}  # storages by address: alive, so that no address comes twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        fake = {name: mode.from_tensor(values) for name, values in batch.items()}
        weights = [mode.from_tensor(tensor).untyped_storage() for tensor in trained.parameters()]
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss(fake)
    counted_already = {storage._cdata for storage in weights}
    sizes = [storage.nbytes() for address, storage in kept.items() if address not in counted_already]
    trainable = sum(p.nbytes for p in trained.parameters() if p.requires_grad)
    everything = sum(tensor.nbytes for tensor in [*detector.parameters(), *detector.buffers()])
    moving = sum(values.nbytes for values in batch.values())
    return everything + (COPIES - 1) * trainable + sum(sizes) + TEMPORARIES * max(sizes, default=0) + moving
