"""The interface between a method and the training loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.training.process_group import current_group

logger = logging.getLogger(__name__)

T = TypeVar("T")

Batch = Mapping[str, Tensor]

VALIDATION_IMAGES = 64
"""Validation losses use at most this many images: they are computed some 50 times in a training."""


class TrainingTask(Protocol):
    """Batches and their loss."""

    examples: int

    def batch(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        """Return the named tensors of these examples, on the CPU or on the device already.

        Called from worker threads, so draws come from (seed, epoch, i).
        """

    def loss(self, batch: Batch) -> Tensor:
        """Return the scalar loss of a batch, tensors on the module's device."""

    def validation_loss(self) -> float | None:
        """Return the loss on held-out good images, None without such. Never uses test images."""


@runtime_checkable
class ReportingTask(TrainingTask, Protocol):
    """A training task with further metrics for the history."""

    def extra_metrics(self) -> Mapping[str, Tensor]:
        """Return further scalars by name of the last training batch; the history gets their means over images."""

    def after_epoch(self) -> Mapping[str, float]:
        """Return further values of the epoch just finished, for the history; must not change weights."""


@runtime_checkable
class ResidentTask(TrainingTask, Protocol):
    """A training task that may keep all examples on the device.

    Attributes:
        is_resident: they are there, and batches of one size have one shape.
        many_small_steps: its step is many small operations, so that a GPU waits for the host. Neither loss nor
            `extra_metrics` reads a value from the device, so that the step can be recorded.
    """

    is_resident: bool
    many_small_steps: bool

    def release(self) -> None:
        """Make room: drop the examples on the device, and make batches without them from now on."""


def making_room(task: TrainingTask, call: Callable[[], T]) -> T:
    """Run a call; if a GPU's memory is too small, once more without the examples that the task keeps there.

    In a group all processes must take the same steps, and a recording is no place for another attempt.
    """
    try:
        return call()
    except torch.OutOfMemoryError:
        if current_group() or (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()):
            raise
        if not (isinstance(task, ResidentTask) and task.is_resident):
            raise
        task.release()
    logger.warning("training: the GPU's memory is too small to keep all features there; going on without")
    return call()


def is_resident(task: TrainingTask) -> bool:
    """Return whether a task's batches come from the device."""
    return isinstance(task, ResidentTask) and task.is_resident
