"""PaDiM, Patch Distribution Modeling (Defard, Setkov, Loesch and Audigier, ICPR workshops 2021).

Features of several layers are joined at each position, and a Gaussian is fitted to those of good images there. An image
is anomalous where its features are far from the Gaussian. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from discrepancy.device_memory import images_at_once
from discrepancy.devices import resolve_device
from discrepancy.features.backbones import Backbone
from discrepancy.features.poses import Pose, poses
from discrepancy.methods.base import Method, TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.padim.augmentation import CHANNELS, HELD_OUT, MOST_IMAGES, distances_in_poses, plausible_poses
from discrepancy.methods.padim.embedding import Embedding
from discrepancy.methods.padim.gaussian import GaussianStatistics, mahalanobis
from discrepancy.methods.padim.parameters import PaDiMParameters

READ_AT_ONCE = 16
"""Images of 256x256 px whose copies are in memory at a time."""


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
        self.whitening = self.whitening.new_empty(0)  # what takes its place is as large: not both at once
        self.to(resolve_device(parameters.device))
        chosen = self._poses(data)
        positions, channels = self.mean.shape
        statistics = GaussianStatistics(positions, channels, self.device)
        for _, vectors in self._in_poses(data, chosen, range(data.examples)):
            statistics.update(vectors)
        self.card = self.card.with_entries(poses=[str(pose) for pose in chosen])
        self.mean.copy_(statistics.mean)
        self.whitening = statistics.whitening(parameters.ridge)

    def _poses(self, data: TrainingData) -> list[Pose]:
        """Return the poses to learn from, the images as they are first."""
        wanted = self.parameters_used.augmentation
        if wanted != "auto":
            return poses(wanted, self.image_size)
        every, compared = poses("rotations", self.image_size), range(min(data.examples, MOST_IMAGES))
        held_out = compared[HELD_OUT - 1 :: HELD_OUT]
        if not held_out:
            return every[:1]
        channels = torch.linspace(0, self.embedding.channels - 1, min(CHANNELS, self.embedding.channels)).long()
        channels = channels.to(self.device)
        learnt = [row for row in compared if row not in held_out]
        known = torch.cat([vectors[..., channels] for _, vectors in self._in_poses(data, every[:1], learnt)])
        looked_at: dict[Pose, list[Tensor]] = {pose: [] for pose in every}
        for pose, vectors in self._in_poses(data, every, held_out):
            looked_at[pose].append(vectors[..., channels])
        in_poses = [torch.cat(vectors) for vectors in looked_at.values()]
        return plausible_poses(every, distances_in_poses(known, in_poses, self.parameters_used.ridge))

    def _in_poses(
        self, data: TrainingData, wanted: Sequence[Pose], rows: Sequence[int]
    ) -> Iterator[tuple[Pose, Tensor]]:
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

    def _posed(self, data: TrainingData, pose: Pose, rows: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        """Yield the frozen network's maps of copies of training images, a few at a time."""
        size = images_at_once(READ_AT_ONCE, *self.image_size)
        for start in range(0, len(rows), size):
            part = np.asarray(data.images[list(rows[start : start + size])])
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
