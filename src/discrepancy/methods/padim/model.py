"""PaDiM, Patch Distribution Modeling (Defard, Setkov, Loesch and Audigier, ICPR workshops 2021).

Features of several layers are joined at each position, and a Gaussian is fitted to those of good images there. An image
is anomalous where its features are far from the Gaussian. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from discrepancy.devices import resolve_device
from discrepancy.features.backbones import Backbone
from discrepancy.features.poses import Augmentation, Pose, poses
from discrepancy.methods.base import Method, TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.padim.augmentation import CHANNELS, HELD_OUT, MOST_IMAGES, best_augmentation
from discrepancy.methods.padim.embedding import Embedding
from discrepancy.methods.padim.gaussian import GaussianStatistics, mahalanobis
from discrepancy.methods.padim.parameters import PaDiMParameters

READ_AT_ONCE = 16
"""Images whose copies are in memory at a time."""


class PaDiM(Method):
    """Compare features with a Gaussian at each position of the image.

    Attributes:
        mean: of the features of good images, [P, d] with P positions and d channels.
        whitening: [P, d, d], lower triangular; its transpose times itself is the inverse of the covariance. Stored in
            place of the covariance, as scoring is then one matrix product.

    Example:
        >>> detector = load_method(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    name = "padim"
    title = "PaDiM"
    Parameters = PaDiMParameters
    parameters_used: PaDiMParameters
    mean: Tensor
    whitening: Tensor

    def __init__(self, backbone: Backbone, parameters: PaDiMParameters, card: Card) -> None:
        super().__init__(backbone, parameters, card)
        self.embedding = _embedding(backbone, parameters, self.image_size)
        positions, channels = self.embedding.grid[0] * self.embedding.grid[1], self.embedding.channels
        self.register_buffer("mean", torch.zeros(positions, channels))
        self.register_buffer("whitening", torch.zeros(positions, channels, channels))

    @classmethod
    def reduction(cls, backbone: Backbone, parameters: PaDiMParameters, image_size: tuple[int, int]) -> None:
        """Keep the layers' maps as they are: other draws of channels, and other methods, then find them in the cache.

        Raises:
            InputError: more channels are to be drawn than the layers have.
        """
        _embedding(backbone, parameters, image_size)

    @torch.no_grad()
    def fit(self, data: TrainingData, checkpoint: Path | None = None) -> None:
        """Fit the Gaussians to the training images and their copies; there is nothing to resume."""
        del checkpoint
        parameters = self.parameters_used
        device = resolve_device(parameters.device)
        self.to(device)
        positions, channels = self.mean.shape
        statistics = GaussianStatistics(positions, channels, device)
        for maps in data.cached.batches(range(data.examples), device):
            statistics.update(self.embedding(maps).flatten(1, 2))
        augmentation = self._augmentation(data)
        _, *others = poses(augmentation, self.image_size)
        for vectors in self._in_poses(data.images[: data.examples], others):
            statistics.update(vectors)
        self.card = self.card.with_entries(augmentation=augmentation)
        self.mean.copy_(statistics.mean)
        self.whitening = statistics.whitening(parameters.ridge)

    def _augmentation(self, data: TrainingData) -> Augmentation:
        """Return the augmentation of the parameters, or choose it."""
        used = self.parameters_used
        if used.augmentation != "auto":
            return used.augmentation
        count = min(data.examples, MOST_IMAGES)
        if count < HELD_OUT:
            return "none"
        every = poses("rotations", self.image_size)
        channels = torch.linspace(0, self.embedding.channels - 1, min(CHANNELS, self.embedding.channels)).long()
        kept = [vectors[..., channels.to(vectors.device)] for vectors in self._in_poses(data.images[:count], every)]
        return best_augmentation(torch.cat(kept).unflatten(0, (len(every), count)), self.image_size, used.ridge)

    def _in_poses(self, images: NDArray[np.uint8], wanted: Sequence[Pose]) -> Iterator[Tensor]:
        """Yield the vectors [n, P, d] of images in each pose in turn, those of a few images at a time."""
        bar = tqdm(total=len(images) * len(wanted), desc="padim: poses", unit="image", disable=None if wanted else True)
        with bar:
            for pose, start in product(wanted, range(0, len(images), READ_AT_ONCE)):
                part = torch.from_numpy(np.array(images[start : start + READ_AT_ONCE])).to(self.device)
                yield self.embedding(self.backbone(pose(part))).flatten(1, 2)
                bar.update(len(part))

    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the Mahalanobis distance at each position, upsampled: [N, H, W]."""
        del images
        vectors = self.embedding(features).flatten(1, 2)
        distances = mahalanobis(vectors, self.mean, self.whitening).unflatten(1, (1, *self.embedding.grid))
        align = self.parameters_used.align_corners
        return F.interpolate(distances, self.image_size, mode="bilinear", align_corners=align).squeeze(1)


def _embedding(backbone: Backbone, parameters: PaDiMParameters, image_size: tuple[int, int]) -> Embedding:
    return Embedding(backbone.map_shapes(*image_size), parameters.channels, seed=parameters.seed)
