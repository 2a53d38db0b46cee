"""PatchCore (Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler, CVPR 2022).

A memory keeps features of patches of good images, thinned out to a coreset. A patch is anomalous as far as it is from
the nearest of these, wherever in the image that was. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import field_validator
from torch import Tensor

from discrepancy.devices import resolve_device
from discrepancy.features.backbones import Backbone
from discrepancy.methods.base import Method, Scored, TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.patchcore.coreset import greedy_k_center, random_projection
from discrepancy.methods.patchcore.memory import nearest, reweighted
from discrepancy.methods.patchcore.parameters import PatchCoreParameters
from discrepancy.methods.patchcore.patches import patch_features, patch_grid, patch_length
from discrepancy.methods.smoothing import gaussian_blur

MOST_IMAGES = 1 << 20
"""More training images than can be; the size of the memory is then still a number that PyTorch knows."""


class PatchCoreCard(Card):
    """PatchCore's card: it says how many training images there were, as the size of the memory follows from that."""

    images: dict[str, int]

    @field_validator("images")
    @classmethod
    def _with_training_images(cls, value: dict[str, int]) -> dict[str, int]:
        if not 1 <= value.get("train", 0) <= MOST_IMAGES:
            raise ValueError(f"expected `train`, the number of training images, 1 to {MOST_IMAGES}")
        return value


class PatchCore(Method):
    """Compare patches with a memory of patches of good images.

    Attributes:
        memory: features of the patches in the coreset, [M, d], in the order in which they were chosen.

    Example:
        >>> detector = load_method(folder)  # doctest: +SKIP
        >>> maps, image_scores = detector.score(images)  # uint8 [N, 3, H, W] -> [N, H, W], [N]  # doctest: +SKIP
    """

    name = "patchcore"
    title = "PatchCore"
    Parameters = PatchCoreParameters
    Card = PatchCoreCard
    parameters_used: PatchCoreParameters
    memory: Tensor

    def __init__(self, backbone: Backbone, parameters: PatchCoreParameters, card: PatchCoreCard) -> None:
        super().__init__(backbone, parameters, card)
        shapes = backbone.map_shapes(*self.image_size)
        self.grid = patch_grid(shapes)
        patches = card.images["train"] * self.grid[0] * self.grid[1]
        self.register_buffer(
            "memory", torch.zeros(parameters.memory_size(patches), patch_length(shapes, parameters.dimension))
        )

    @classmethod
    def card_entries(cls, parameters: PatchCoreParameters, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Return how images are scored."""
        del prepared
        weighed = (
            f", weighed by its {parameters.neighbours} neighbours in the memory" if parameters.neighbours > 1 else ""
        )
        return {"image_score": {"rule": f"distance of the most anomalous patch{weighed}", "sigma": 0.0}}

    @torch.no_grad()
    def fit(self, data: TrainingData, checkpoint: Path | None = None) -> None:
        """Choose the patches to be kept, in two passes over the training images; there is nothing to resume."""
        del checkpoint
        self.to(resolve_device(self.parameters_used.device))
        generator = np.random.RandomState(self.parameters_used.seed % 2**32)
        candidates = self._candidates(data, generator)
        points = self._projected(data, candidates)
        chosen = greedy_k_center(points, len(self.memory), first=generator.randint(len(points)))
        self.memory.copy_(self._chosen(data, candidates[chosen]))

    def _candidates(self, data: TrainingData, generator: np.random.RandomState) -> NDArray[np.intp]:
        """Return the indices of the patches out of which the memory is chosen, ascending."""
        patches = data.examples * self.grid[0] * self.grid[1]
        count = self.parameters_used.candidate_count(patches)
        return np.arange(patches) if count == patches else np.sort(generator.permutation(patches)[:count])

    def _batches(self, data: TrainingData) -> Iterator[Tensor]:
        """Patch features of the training images, [n, d] for a few of them at a time."""
        for maps in data.cached.batches(range(data.examples), self.device):
            yield self._patches(maps).flatten(0, 2)

    def _projected(self, data: TrainingData, candidates: NDArray[np.intp]) -> NDArray[np.float32]:
        """The candidates [n, k], at random projected to fewer numbers each."""
        length, components = self.memory.shape[1], self.parameters_used.projection
        if components is None or components >= length:
            return np.concatenate([patches.cpu().numpy() for patches in self._picked(data, candidates)])
        matrix = torch.from_numpy(random_projection(length, components, seed=self.parameters_used.seed)).to(self.device)
        return np.concatenate([(patches @ matrix).cpu().numpy() for patches in self._picked(data, candidates)])

    def _picked(self, data: TrainingData, ascending: NDArray[np.intp]) -> Iterator[Tensor]:
        """Features [n, d] of the patches with these indices, those of a few images at a time."""
        first = 0
        for patches in self._batches(data):
            start, end = np.searchsorted(ascending, [first, first + len(patches)])
            yield patches[torch.from_numpy(ascending[start:end] - first).to(self.device)]
            first += len(patches)

    def _chosen(self, data: TrainingData, chosen: NDArray[np.intp]) -> Tensor:
        """Features [M, d] of the patches with these indices, in their order."""
        order = np.argsort(chosen)
        features = torch.empty_like(self.memory)
        features[torch.from_numpy(order).to(self.device)] = torch.cat(list(self._picked(data, chosen[order])))
        return features

    def _patches(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Patch features [N, rows, columns, d] of maps by layer."""
        used = self.parameters_used
        layers = [maps[layer.name] for layer in self.backbone.layers]
        return patch_features(layers, dimension=used.dimension, padding=used.padding)

    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the distance of each patch from the memory, upsampled: [N, H, W]."""
        del images
        return self._upsampled(nearest(self._patches(features).flatten(0, 2), self.memory)[0])

    def scored(self, features: Mapping[str, Tensor], images: Tensor) -> Scored:
        """Return smoothed maps, and image scores: of the most anomalous patch, weighed (see `reweighted`)."""
        del images
        used = self.parameters_used
        patches = self._patches(features).flatten(1, 2)
        distances, indices = nearest(patches.flatten(0, 1), self.memory)
        maps = gaussian_blur(self._upsampled(distances), used.smoothing)
        worst = distances.view(-1, patches.shape[1]).argmax(1, keepdim=True)
        items = indices.view(-1, patches.shape[1]).gather(1, worst)[:, 0]
        worst_patches = patches.gather(1, worst[:, :, None].expand(-1, -1, patches.shape[2]))[:, 0]
        return Scored(maps, reweighted(worst_patches, items, self.memory, used.neighbours))

    def _upsampled(self, distances: Tensor) -> Tensor:
        """Maps [N, H, W] of distances [N * rows * columns]."""
        maps = distances.view(-1, 1, *self.grid)
        align = self.parameters_used.align_corners
        return F.interpolate(maps, self.image_size, mode="bilinear", align_corners=align).squeeze(1)
