"""Base of methods that are trained by gradient descent on cached features, and then learn the usual residuals."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from discrepancy.device_memory import announce, free_memory, images_at_once, memory_explained
from discrepancy.devices import resolve_device
from discrepancy.methods.base import Method, TrainingData, backbone_of
from discrepancy.methods.card import Card
from discrepancy.methods.parameters import GradientParameters
from discrepancy.methods.residual_scaler import Compared, ResidualScaler
from discrepancy.methods.shifted_copies import shifted_copies
from discrepancy.methods.standardisation import clamped_std
from discrepancy.rows import Rows
from discrepancy.training.launch import run_distributed
from discrepancy.training.loop import Checkpoint, Epoch, fit
from discrepancy.training.memory_estimate import training_bytes
from discrepancy.training.process_group import current_group
from discrepancy.training.task import TrainingTask

logger = logging.getLogger(__name__)


class GradientMethod(Method):
    """A method with a network to train. Subclasses define the network, its loss, and the errors that make a map.

    Attributes:
        weighing: what is usual on good images; learnt after training.
    """

    parameters_used: GradientParameters
    weighing: ResidualScaler

    @property
    @abstractmethod
    def feature_names(self) -> Sequence[str]:
        """Names of the cached features, in the order of the buffers `mean_0`, `deviation_0`, `mean_1`, ..."""

    @property
    @abstractmethod
    def trained_network(self) -> nn.Module:
        """The network whose weights gradient descent changes."""

    @abstractmethod
    def training_task(self, data: TrainingData) -> TrainingTask:
        """Return batches and loss for the training loop."""

    @abstractmethod
    def compared_batches(self, data: TrainingData) -> Iterator[Compared]:
        """Compare features of the training images with what the network predicts, batch by batch."""

    @abstractmethod
    def error_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return maps [N, H, W] that are not yet divided by what is usual there; arguments as of `anomaly_maps`."""

    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return error maps [N, H, W], divided by what is usual at each position if the parameters say so."""
        return self.weighing.relative(self.error_maps(features, images))

    def set_up(self, data: TrainingData) -> None:
        """Set the values known before training: here the statistics of the features."""
        if self.parameters_used.standardise:
            self.set_statistics(data.cached.channel_statistics())

    def set_statistics(self, statistics: Mapping[str, tuple[NDArray, NDArray]]) -> None:
        """Standardise features by mean [C] and deviation [C] of each channel on good images, by name."""
        for index, name in enumerate(self.feature_names):
            mean, deviation = statistics[name]
            for kind, values in (("mean", torch.from_numpy(mean)), ("deviation", clamped_std(deviation))):
                buffer = self.get_buffer(f"{kind}_{index}")
                buffer.copy_(values.view_as(buffer))

    def optimiser(self) -> torch.optim.Optimizer | None:
        """Return the optimiser, None for Adam."""
        return None

    def deciding(self, data: TrainingData) -> dict[str, Any]:
        """Return the values besides parameters and features that decide the weights, as JSON values."""
        del data
        return {}

    def to_training_device(self) -> torch.device:
        """Move to the device of the parameters, and return it."""
        device = resolve_device(self.parameters_used.device)
        self.to(device)
        return device

    def train_network(self, data: TrainingData, checkpoint: Path | None = None) -> list[Epoch]:
        """Train the network, alone or as one process of several.

        A finished training is restored from its checkpoint.

        Raises:
            DivergedError: the loss is not finite; the last good checkpoint is kept.
            InputError: a GPU's memory is too small.
        """
        self.set_up(data)
        self._announce_memory(data)
        fingerprint = self.parameters_used.fingerprint(data.cached, examples=data.examples, **self.deciding(data))
        with memory_explained(f"{self.name}: training", self.parameters_used.lighter(self.name)):
            device = self.to_training_device()
            return fit(
                self.trained_network,
                self.training_task(data),
                self.parameters_used.training(data.examples),
                device=device,
                name=self.name,
                checkpoint=None if checkpoint is None else Checkpoint(checkpoint, fingerprint),
                optimiser=self.optimiser(),
            )

    def _announce_memory(self, data: TrainingData) -> None:
        """Say what a training on a GPU will take of its memory, before anything is moved there."""
        used = self.parameters_used
        device, group = resolve_device(used.device), current_group()
        trains_here = used.processes == 1 if group is None else group.is_main
        if device.type != "cuda" or self.device.type != "cpu" or not trains_here:
            return
        try:
            images: Any = Rows(data.images, np.arange(data.examples))  # none held out: less to do
            task = self.training_task(replace(data, images=images))
            size = math.ceil(min(used.batch_size, data.examples) / used.processes)
            needed = training_bytes(
                self, self.trained_network, task.loss, task.batch(0, np.arange(size)), used.precision
            )
        except Exception as error:  # a loss may look at values, which fake tensors lack: no estimate then
            logger.debug("%s: no estimate of the memory that training takes (%s)", self.name, error)
            return
        announce(f"{self.name}: training", needed, free_memory(device), used.lighter(self.name))

    def fit(self, data: TrainingData, checkpoint: Path | None = None) -> list[Epoch]:
        """Train, in several processes if the parameters say so; then learn the usual residuals.

        Raises:
            DivergedError: the loss is not finite; the last good checkpoint is kept.
        """
        used = self.parameters_used
        with ExitStack() as stack:
            if checkpoint is None and used.processes > 1:
                checkpoint = Path(stack.enter_context(TemporaryDirectory(prefix="discrepancy-"))) / "training.pt"
            # Child processes leave the finished checkpoint, which the training in this process then restores.
            arguments = (type(self), used, self.card, data, checkpoint)
            run_distributed(used.processes, used.device, _train_in_process, arguments)
            history = self.train_network(data, checkpoint)
        self.card = self.card.with_entries(epochs=len(history))
        self.fit_residual_scaler(data)
        return history

    @torch.inference_mode()
    def fit_residual_scaler(self, data: TrainingData) -> None:
        """Learn from the training images, after training, which residuals are usual, and which errors at each position.

        The latter come from shifted copies: the network has memorised the images themselves.
        """
        self.eval()
        self.weighing.fit_errors(lambda: self.compared_batches(data))
        if self.parameters_used.by_position:
            self.weighing.fit_position(self._copies_error_maps(data))

    def _copies_error_maps(self, data: TrainingData) -> Iterator[Tensor]:
        used, size = self.parameters_used, images_at_once(16, *self.image_size)
        for copies in shifted_copies(data.images, data.examples, used.position_shift, seed=used.seed, at_once=size):
            images = self.checked(copies)
            yield self.error_maps(self.backbone(images), images)


def _train_in_process(
    method: type[GradientMethod], parameters: Any, card: Card, data: TrainingData, checkpoint: Path | None
) -> None:
    """Train as one process of several."""
    method(backbone_of(card), parameters, card).train_network(data, checkpoint)
