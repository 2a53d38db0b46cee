"""Processes that train one model together: each takes a shard of every batch, and gradients are summed over all.

Every process has the whole model and takes the same steps. The gradient of a batch's mean loss is the sum of the
processes' gradients, each weighted by its part of the batch's images. So it is the gradient of one process with the
whole batch, up to the order in which rounded numbers are added.

Gradients travel as one flat vector, in one sum per step. PyTorch's DistributedDataParallel would wrap the module,
which the methods' losses call part by part. It also takes plain means over processes, wrong for shards of different
sizes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor


class LostError(RuntimeError):
    """Another process of the group is gone, or does not answer."""


class BatchShard(NamedTuple):
    """The part of a batch that one process computes.

    Attributes:
        rows: its examples; one at least.
        images: number of them that count: all, or 0 if the batch has fewer images than there are processes.
        batch: images of the whole batch.
    """

    rows: NDArray[np.int64]
    images: int
    batch: int


class ProcessGroup:
    """A process among those that train one model; PyTorch's default process group connects them.

    Args:
        rank: of this process, from 0. The first one alone draws, logs, validates and writes checkpoints.
        size: number of processes.

    Attributes:
        weight: this process's part of the images of the batch at hand, 0 to 1.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.weight = 1.0

    @property
    def is_main(self) -> bool:
        """True for the first process."""
        return self.rank == 0

    def shard(self, batch: NDArray[np.int64]) -> BatchShard:
        """Return every `size`-th example of a batch; if none is left, the first one, which does not count.

        So a process without images goes through the same steps as the others, who wait for it in every sum.
        """
        rows = batch[self.rank :: self.size]
        return BatchShard(rows if len(rows) else batch[:1], len(rows), len(batch))

    def backward(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
        """Leave the gradients of the whole batch's loss in the optimiser's parameters.

        Args:
            loss: of this process's shard, a scalar.
            optimiser: of the parameters; their gradients are cleared.

        Returns:
            The loss of the whole batch, a scalar without gradients, the same in all processes.
        """
        weighed = loss * self.weight
        weighed.backward()
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sizes = [gradient.numel() for gradient in gradients]
        *parts, total = self.sum(
            torch.cat([*(gradient.flatten() for gradient in gradients), weighed.detach().flatten()])
        ).split([*sizes, 1])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return total.squeeze()

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place; the same bits in all of them.

        Raises:
            LostError: a process is gone.
        """
        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            raise LostError(f"process {self.rank + 1} of {self.size} has lost another one: {error}") from error
        return values

    def table(self, values: Tensor) -> Tensor:
        """Return the values [n] of all processes, [processes, n]."""
        rows = values.new_zeros(self.size, len(values))
        rows[self.rank] = values
        return self.sum(rows)


_groups: list[ProcessGroup] = []


def current_group() -> ProcessGroup | None:
    """Return the group that this process belongs to; None if it trains alone."""
    return _groups[-1] if _groups else None


def join_group(group: ProcessGroup) -> None:
    """Make this process a member of a group from now on."""
    _groups.append(group)
