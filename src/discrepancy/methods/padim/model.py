"""PaDiM, Patch Distribution Modeling (Defard, Setkov, Loesch and Audigier, ICPR workshops 2021).

Features of several layers are joined at each position, and a Gaussian is fitted to those of good images there. An image
is anomalous where its features are far from the Gaussian. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from discrepancy.devices import resolve_device
from discrepancy.features.backbones import Backbone
from discrepancy.methods.base import Method, TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.padim.embedding import Embedding
from discrepancy.methods.padim.gaussian import GaussianStatistics, mahalanobis
from discrepancy.methods.padim.parameters import PaDiMParameters


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
        """Fit the Gaussians, in one pass over the training images; there is nothing to resume."""
        del checkpoint
        parameters = self.parameters_used
        device = resolve_device(parameters.device)
        self.to(device)
        positions, channels = self.mean.shape
        statistics = GaussianStatistics(positions, channels, device)
        for maps in data.cached.batches(range(data.examples), device):
            statistics.update(self.embedding(maps).flatten(1, 2))
        self.mean.copy_(statistics.mean)
        self.whitening = statistics.whitening(parameters.ridge)

    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the Mahalanobis distance at each position, upsampled: [N, H, W]."""
        del images
        vectors = self.embedding(features).flatten(1, 2)
        distances = mahalanobis(vectors, self.mean, self.whitening).unflatten(1, (1, *self.embedding.grid))
        align = self.parameters_used.align_corners
        return F.interpolate(distances, self.image_size, mode="bilinear", align_corners=align).squeeze(1)


def _embedding(backbone: Backbone, parameters: PaDiMParameters, image_size: tuple[int, int]) -> Embedding:
    return Embedding(backbone.map_shapes(*image_size), parameters.channels, seed=parameters.seed)
