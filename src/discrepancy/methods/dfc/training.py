"""DFC's training task: clean images and corrupted copies, both to predict the clean image's features (SFE)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.methods.base import TrainingData
from discrepancy.methods.dfc.blending import ImageFolder
from discrepancy.methods.dfc.corruption import KINDS, Corruption, Strokes
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.training.task import VALIDATION_IMAGES, Batch

if TYPE_CHECKING:
    from discrepancy.methods.dfc.model import DFC


class DFCTask:
    """Training task of DFC.

    L = mean over layers of MSE(S(n), T(n)) + alpha * MSE(S(a), T(n)). T(n) comes from the cache, T(a) is never
    needed, and one forward pass serves n and a: exact, as the estimation network has no batch normalisation.

    Args:
        detector: its estimation network is trained.
        data: the good images and their cached features.
        corruption: paints the strokes.
    """

    def __init__(self, detector: DFC, data: TrainingData, corruption: Corruption) -> None:
        self.detector = detector
        self.images = data.images
        self.features = data.cached
        self.examples = data.examples
        self.corruption = corruption
        self.parameters = detector.parameters_used
        held_out = np.arange(data.examples, min(len(data.images), data.examples + VALIDATION_IMAGES))
        size = self.parameters.batch_size
        # Corrupted once, by an epoch that does not exist, so that the validation losses of all epochs compare.
        parts = [held_out[i : i + size] for i in range(0, len(held_out), size)]
        self.validation = [(part, self._pairs(1 << 32, part)) for part in parts]

    def batch(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        """Return clean images over corrupted ones [2n, 3, H, W], and the layers' features [n, C, h, w]."""
        return {"images": self._pairs(epoch, indices), **self.features.tensors(indices)}

    def _pairs(self, epoch: int, indices: NDArray[np.int64]) -> Tensor:
        clean = np.asarray(self.images[indices])
        both = np.empty((2 * len(clean), *clean.shape[1:]), np.uint8)
        both[: len(clean)] = clean
        for row, index in enumerate(indices):
            rng = np.random.default_rng([self.parameters.seed, epoch, int(index)])
            both[len(clean) + row] = self.corruption(clean[row], rng)[0]
        return torch.from_numpy(both)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss above, a scalar."""
        targets = self.detector.standardised(batch)
        predictions = self.detector.predicted(batch["images"])
        losses = []
        for target, prediction in zip(targets, predictions, strict=True):
            clean, corrupted = prediction.float().chunk(2)
            alpha = self.parameters.corrupted_weight
            losses.append(F.mse_loss(clean, target) + alpha * F.mse_loss(corrupted, target))
        return torch.stack(losses).mean()

    def validation_loss(self) -> float | None:
        """Return the same loss on held-out good images, with corruptions that stay the same."""
        if not self.validation:
            return None
        device = self.detector.device
        losses = []
        for part, pairs in self.validation:
            batch = {"images": pairs, **self.features.tensors(part)}
            on_device = {key: tensor.to(device) for key, tensor in batch.items()}
            losses.append(len(part) * self.loss(on_device).double())
        return float(torch.stack(losses).sum()) / sum(len(part) for part, _ in self.validation)


def build_corruption(parameters: DFCParameters, image_size: tuple[int, int]) -> Corruption:
    """Build the corruptions that the parameters select."""
    kinds = [kind for kind in KINDS if kind in parameters.fills]
    margin = parameters.stroke_margin
    blend = None if parameters.blend_folder is None else ImageFolder(Path(parameters.blend_folder), image_size)
    return Corruption(kinds, strokes=Strokes(margin=margin, start=min(20, margin)), images=blend)
