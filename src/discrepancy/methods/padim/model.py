"""PaDiM, Patch Distribution Modeling (Defard, Setkov, Loesch and Audigier, ICPR workshops 2021).

Features of several layers are joined at each position, and a Gaussian is fitted to those of good images there. An image
is anomalous where its features are far from the Gaussian. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
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
        wanted, examples = parameters.augmentation, data.examples
        if wanted == "auto" and examples >= HELD_OUT:
            compared = min(examples, MOST_IMAGES)
            augmentation, statistics = self._best(data, compared)
        else:
            compared = 0
            augmentation, statistics = "none" if wanted == "auto" else wanted, self._statistics()
        rest = range(compared, examples)
        for _, vectors in self._in_poses(data, poses(augmentation, self.image_size), rest):
            statistics.update(vectors)
        self.card = self.card.with_entries(augmentation=augmentation)
        self.mean.copy_(statistics.mean)
        self.whitening = statistics.whitening(parameters.ridge)

    def _statistics(self) -> GaussianStatistics:
        """Return statistics that know no image yet."""
        positions, channels = self.mean.shape
        return GaussianStatistics(positions, channels, self.device)

    def _best(self, data: TrainingData, count: int) -> tuple[Augmentation, GaussianStatistics]:
        """Return the augmentation that predicts held-out images best, and what it has learnt from the first images."""
        every = poses("rotations", self.image_size)
        statistics = {name: self._statistics() for name in get_args(Augmentation)}
        channels = torch.linspace(0, self.embedding.channels - 1, min(CHANNELS, self.embedding.channels)).long()
        kept = []
        for pose, vectors in self._in_poses(data, every, range(count)):
            kept.append(vectors[..., channels.to(vectors.device)])
            for name, learnt in statistics.items():
                if pose in poses(name, self.image_size):
                    learnt.update(vectors)
        in_poses = torch.cat(kept).unflatten(0, (len(every), count))
        best = best_augmentation(in_poses, self.image_size, self.parameters_used.ridge)
        return best, statistics[best]

    def _in_poses(self, data: TrainingData, wanted: Sequence[Pose], rows: range) -> Iterator[tuple[Pose, Tensor]]:
        """Yield the vectors [n, P, d] of training images in each pose in turn, those of a few images at a time.

        Features of the images as they are come from the cache.
        """
        only_cached = len(wanted) == 1
        with tqdm(
            total=len(rows) * len(wanted), desc="padim: poses", unit="image", disable=True if only_cached else None
        ) as bar:
            for pose in wanted:
                as_they_are = pose == wanted[0]  # `poses` says so
                for maps in data.cached.batches(rows, self.device) if as_they_are else self._posed(data, pose, rows):
                    vectors = self.embedding(maps).flatten(1, 2)
                    yield pose, vectors
                    bar.update(len(vectors))

    def _posed(self, data: TrainingData, pose: Pose, rows: range) -> Iterator[dict[str, Tensor]]:
        """Yield the frozen network's maps of copies of training images, a few at a time."""
        for start in range(rows.start, rows.stop, READ_AT_ONCE):
            part = np.array(data.images[start : min(start + READ_AT_ONCE, rows.stop)])
            yield self.backbone(pose(torch.from_numpy(part).to(self.device)))

    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the Mahalanobis distance at each position, upsampled: [N, H, W]."""
        del images
        vectors = self.embedding(features).flatten(1, 2)
        distances = mahalanobis(vectors, self.mean, self.whitening).unflatten(1, (1, *self.embedding.grid))
        align = self.parameters_used.align_corners
        return F.interpolate(distances, self.image_size, mode="bilinear", align_corners=align).squeeze(1)


def _embedding(backbone: Backbone, parameters: PaDiMParameters, image_size: tuple[int, int]) -> Embedding:
    return Embedding(backbone.map_shapes(*image_size), parameters.channels, seed=parameters.seed)
