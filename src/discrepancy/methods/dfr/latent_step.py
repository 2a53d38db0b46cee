"""The node that chooses the width of the autoencoder's bottleneck."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from discrepancy.devices import resolve_device
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import Features
from discrepancy.methods.base import TrainingData
from discrepancy.methods.dfr.latent import LatentDimension, latent_dimension
from discrepancy.methods.dfr.parameters import DFRParameters
from discrepancy.methods.dfr.regions import Regions, build_regions
from discrepancy.methods.standardisation import clamped_std

logger = logging.getLogger(__name__)


def choose_latent_dim(backbone: Backbone, data: TrainingData, parameters: DFRParameters) -> dict[str, Any]:
    """Choose the width of the bottleneck from the first training images by name.

    Args:
        backbone: the frozen network.
        data: the good images and their cached regional features.
        parameters: a number, or the share of the variance to be explained.

    Returns:
        `dimension`, `explained` (share of the variance, None if not computed), `channels`, `vectors`, and their
        origin: `features` (fingerprint) and `parameters`.
    """
    height, width = data.images.shape[2:]
    regions = build_regions(backbone, parameters, (height, width))
    if parameters.latent_dim is not None:
        latent = LatentDimension(parameters.latent_dim, None, regions.channels, 0)
    else:
        rows = range(min(parameters.variance_images, data.examples))  # the sample table is sorted by name
        latent = choose_latent_dimension(regions, data.cached, rows, parameters)
        logger.info(
            "dfr: %d dimensions explain %.1f %% of the variance of %d channels (%d images)",
            latent.dimension,
            100 * (latent.explained or 0),
            latent.channels,
            len(rows),
        )
    return asdict(latent) | _origin(data.cached, parameters)


def check_latent(data: TrainingData, parameters: DFRParameters) -> None:
    """Refuse a latent dimension on disk that this run would choose from something else.

    Raises:
        InputError: it was chosen from other features or parameters.
    """
    latent = data.prepared["latent"]
    if any(latent.get(key) != value for key, value in _origin(data.cached, parameters).items()):
        raise InputError(
            "the latent dimension on disk was chosen from other features or parameters; expected that of this run: "
            "start it at the beginning, without --from-nodes"
        )


def _origin(features: Features, parameters: DFRParameters) -> dict[str, Any]:
    """Return the values that decide the latent dimension."""
    deciding = ("latent_dim", "explained_variance", "variance_images", "standardise")
    return {"features": features.fingerprint, "parameters": {name: getattr(parameters, name) for name in deciding}}


def choose_latent_dimension(
    regions: Regions, features: Features, rows: Sequence[int], parameters: DFRParameters
) -> LatentDimension:
    """Choose the width of the bottleneck from the features that the autoencoder will see.

    Args:
        regions: aligns the features.
        features: cached features of good images.
        rows: the images to use.
        parameters: target share of the variance, and whether features are standardised.
    """
    device = resolve_device(parameters.device)
    regions.to(device)
    statistics = features.channel_statistics()
    deviation = torch.cat([clamped_std(statistics[group.name][1]) for group in regions.groups]).to(device)

    def batches() -> Iterator[Tensor]:
        for row in rows:
            kept = {name: values.to(device).float() for name, values in features.tensors([row]).items()}
            vectors = regions.joined(kept).flatten(0, 2)
            yield vectors / deviation if parameters.standardise else vectors

    return latent_dimension(batches(), explained=parameters.explained_variance)
