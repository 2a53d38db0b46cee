"""Regional features, latent dimension and training of DFR."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from discrepancy.data.parameters import IngestionParameters
from discrepancy.errors import InputError
from discrepancy.features.cache import Features
from discrepancy.features.recipe import LazyFeatures
from discrepancy.methods.dfr.latent import LatentDimension
from discrepancy.methods.dfr.model import DFR, DFRTask, build_regions, choose_latent_dimension, describe
from discrepancy.methods.dfr.parameters import DFRParameters
from discrepancy.steps import check_features, counts, fresh_card, load_backbone, normal_features
from discrepancy.training.launch import run_distributed
from discrepancy.training.loop import Checkpoint, Epoch, fit, resolve_device

logger = logging.getLogger(__name__)


def plan_features(
    images: np.ndarray, samples: pd.DataFrame, parameters: DFRParameters, ingestion: IngestionParameters
) -> LazyFeatures:
    """Regional features of the good images (training, then validation); computed if not in the cache.

    Args:
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        parameters: of DFR.
        ingestion: for category and image size.
    """
    backbone = load_backbone(parameters, ingestion)
    regions = build_regions(backbone, parameters, ingestion.size)
    return normal_features(backbone, images, samples, parameters, ingestion, regions)


def choose_latent_dim(
    samples: pd.DataFrame, features: Features, parameters: DFRParameters, ingestion: IngestionParameters
) -> dict[str, Any]:
    """How many dimensions the autoencoder's bottleneck gets, from the first training images by name.

    Args:
        samples: the sample table.
        features: cached regional features.
        parameters: a number, or the share of the variance to be explained.
        ingestion: for category and image size.

    Returns:
        `dimension`, `explained` (share of the variance, None if not looked at), `channels`, `vectors`, and what these
        were made from: `features` (fingerprint) and `parameters`.
    """
    backbone = load_backbone(parameters, ingestion)
    regions = build_regions(backbone, parameters, ingestion.size)
    check_features(features, backbone, samples, ingestion, dtype=parameters.cache_dtype, reduction=regions)
    if parameters.latent_dim is not None:
        latent = LatentDimension(parameters.latent_dim, None, regions.channels, 0)
    else:
        rows = range(min(parameters.variance_images, counts(samples)[0]))  # the sample table is sorted by name
        latent = choose_latent_dimension(regions, features, rows, parameters)
        logger.info(
            "dfr: %d dimensions explain %.1f %% of the variance of %d channels (%d images)",
            latent.dimension,
            100 * (latent.explained or 0),
            latent.channels,
            len(rows),
        )
    return asdict(latent) | _origin(features, parameters)


def _origin(features: Features, parameters: DFRParameters) -> dict[str, Any]:
    """What decides the latent dimension."""
    deciding = ("latent_dim", "explained_variance", "variance_images", "standardise")
    return {"features": features.fingerprint, "parameters": {name: getattr(parameters, name) for name in deciding}}


def train(
    samples: pd.DataFrame,
    features: Features,
    latent: dict[str, Any],
    checkpoint: Path,
    parameters: DFRParameters,
    ingestion: IngestionParameters,
) -> tuple[DFR, pd.DataFrame]:
    """Train the autoencoder on the regional features of the good training images.

    Args:
        samples: the sample table.
        features: cached regional features.
        latent: the latent dimension.
        checkpoint: where the state is kept meanwhile.
        parameters: of DFR.
        ingestion: for category and image size.

    Returns:
        The detector, its thresholds still empty, and the history: epoch, loss, validation loss, rate, seconds.
    """
    given = (samples, features, latent, checkpoint, parameters, ingestion)
    run_distributed(parameters.processes, parameters.device, _fitted, given)
    detector, history = _fitted(*given)
    detector.fit_weighing(features, range(counts(samples)[0]))
    return detector, pd.DataFrame([epoch.line() for epoch in history])


def _fitted(
    samples: pd.DataFrame,
    features: Features,
    latent: dict[str, Any],
    checkpoint: Path,
    parameters: DFRParameters,
    ingestion: IngestionParameters,
) -> tuple[DFR, list[Epoch]]:
    """The trained detector, on its device, and its history; alone or as one process of several."""
    examples, _ = counts(samples)
    backbone = load_backbone(parameters, ingestion)
    detector = DFR(
        backbone, parameters, fresh_card(DFR.method, backbone, samples, parameters, ingestion, **describe(latent))
    )
    check_features(features, backbone, samples, ingestion, dtype=parameters.cache_dtype, reduction=detector.regions)
    if any(latent.get(key) != value for key, value in _origin(features, parameters).items()):
        raise InputError(
            "the latent dimension on disk was chosen from other features or parameters; expected that of this run: "
            "start it at the beginning, without --from-nodes"
        )
    if parameters.standardise:
        detector.set_statistics(features.channel_statistics())
    device = resolve_device(parameters.device)
    detector.to(device)
    problem = DFRTask(detector, features, examples=examples)
    state = Checkpoint(checkpoint, parameters.fingerprint(features, examples=examples, latent=latent["dimension"]))
    history = fit(detector.autoencoder, problem, parameters.training, device=device, name="dfr", checkpoint=state)
    return detector, history
