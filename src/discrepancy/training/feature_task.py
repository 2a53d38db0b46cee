"""Training on cached features alone: batches from the cache, or from the GPU where all of them fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.features.cache import Features
from discrepancy.training.task import VALIDATION_IMAGES, Batch

RESIDENT_SHARE = 0.5
"""Features stay on the GPU for the whole training if they take no more than this share of its free memory."""

COPIED_AT_ONCE = 64
"""Number of images whose features are in the host's memory at a time while copying."""


class FeatureTask(ABC):
    """Batches of cached features for the training loop; subclasses define the loss.

    Args:
        features: cached features of good images: training images first, then validation images.
        examples: number of training images.
        batch_size: images per step.
        device: of the trained module.
        resident: keep all features on the device; by default on a GPU where they fit. They are dropped if memory is
            short.
    """

    many_small_steps = False
    """True if a step is many small operations, and reads nothing from the device: it is recorded then, on a GPU."""

    def __init__(
        self, features: Features, *, examples: int, batch_size: int, device: torch.device, resident: bool | None = None
    ) -> None:
        self.features = features
        self.examples = examples
        self.batch_size = batch_size
        self.device = device
        self.resident: dict[str, Tensor] | None = None
        with suppress(torch.OutOfMemoryError):  # batches come from the cache then
            self.resident = self._on_device() if (self._fits() if resident is None else resident) else None

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Return the method's loss of features [n, C, h, w] by name, a scalar."""

    @property
    def is_resident(self) -> bool:
        """True while all features are on the device."""
        return self.resident is not None

    def release(self) -> None:
        """Drop the features on the device; batches come from the cache from now on."""
        self.resident = None

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return sum(array.nbytes for array in self.features.values()) <= RESIDENT_SHARE * free

    def _on_device(self) -> dict[str, Tensor]:
        """Copy all features to the device, [N, h, w, C] by name: an epoch then moves nothing but row numbers."""
        first = self.features.tensors([0])
        shapes = {name: (self.features.count, *values.permute(0, 2, 3, 1).shape[1:]) for name, values in first.items()}
        every = {
            name: torch.empty(shape, dtype=first[name].dtype, device=self.device) for name, shape in shapes.items()
        }
        for start in range(0, self.features.count, COPIED_AT_ONCE):
            rows = range(start, min(start + COPIED_AT_ONCE, self.features.count))
            for name, values in self.features.tensors(rows).items():
                every[name][start : rows.stop] = values.permute(0, 2, 3, 1).to(self.device)
        return every

    def batch(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        """Return features by name, [n, C, h, w], channels last; on the device already if they are kept there."""
        del epoch
        resident = self.resident
        if resident is None:
            return self.features.tensors(indices)
        rows = torch.from_numpy(indices).to(self.device, non_blocking=True)
        return {name: values.index_select(0, rows).permute(0, 3, 1, 2) for name, values in resident.items()}

    def validation_loss(self) -> float | None:
        """Return the same loss on held-out good images, in evaluation mode and without gradients."""
        rows = np.arange(self.examples, min(self.features.count, self.examples + VALIDATION_IMAGES))
        if not len(rows):
            return None
        losses = []
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            batch = {name: values.to(self.device) for name, values in self.batch(0, part).items()}
            losses.append(len(part) * self.loss(batch).double())
        return float(torch.stack(losses).sum()) / len(rows)
