"""Features and training of DFC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import ImageFolder
from discrepancy.features.cache import Features
from discrepancy.features.recipe import LazyFeatures
from discrepancy.methods.dfc.model import DFC, DFCTask, build_corruption, check_estimator, describe
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.steps import check_features, counts, fresh_card, load_backbone, normal_features
from discrepancy.training.launch import run_distributed
from discrepancy.training.loop import Checkpoint, Epoch, fit, resolve_device


def plan_features(
    images: np.ndarray, samples: pd.DataFrame, parameters: DFCParameters, ingestion: IngestionParameters
) -> LazyFeatures:
    """What the frozen network gives for the good images (training, then validation); computed if not in the cache.

    Args:
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        parameters: of DFC.
        ingestion: for the category.
    """
    backbone = load_backbone(parameters, ingestion)
    check_estimator(backbone, parameters, ingestion.size)
    return normal_features(backbone, images, samples, parameters, ingestion)


def train(
    images: np.ndarray,
    samples: pd.DataFrame,
    features: Features,
    checkpoint: Path,
    parameters: DFCParameters,
    ingestion: IngestionParameters,
) -> tuple[DFC, pd.DataFrame]:
    """Train the estimation network on the good training images.

    Args:
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        features: cached maps of the good images.
        checkpoint: where the state is kept meanwhile.
        parameters: of DFC.
        ingestion: for category and image size.

    Returns:
        The detector, its thresholds still empty, and the history: epoch, loss, validation loss, rate, seconds.
    """
    given = (images, samples, features, checkpoint, parameters, ingestion)
    run_distributed(parameters.processes, parameters.device, _fitted, given)
    detector, history = _fitted(*given)
    examples, held_out = counts(samples)
    detector.fit_weighing(images[: examples + held_out], features, range(examples))
    return detector, pd.DataFrame([epoch.line() for epoch in history])


def _fitted(
    images: np.ndarray,
    samples: pd.DataFrame,
    features: Features,
    checkpoint: Path,
    parameters: DFCParameters,
    ingestion: IngestionParameters,
) -> tuple[DFC, list[Epoch]]:
    """The trained detector, on its device, and its history; alone or as one process of several."""
    examples, held_out = counts(samples)
    backbone = load_backbone(parameters, ingestion)
    check_features(features, backbone, samples, ingestion, dtype=parameters.cache_dtype, images=images)
    detector = DFC(
        backbone, parameters, fresh_card(DFC.method, backbone, samples, parameters, ingestion, **describe(parameters))
    )
    if parameters.standardise:
        detector.set_statistics(features.channel_statistics())
    device = resolve_device(parameters.device)
    detector.to(device)
    corruption = build_corruption(parameters, _blend_images(parameters, ingestion))
    good = images[: examples + held_out]
    problem = DFCTask(detector, good, features, examples=examples, corruption=corruption)
    state = Checkpoint(checkpoint, parameters.fingerprint(features, examples=examples))
    history = fit(detector.estimator, problem, parameters.training, device=device, name="dfc", checkpoint=state)
    return detector, history


def _blend_images(parameters: DFCParameters, ingestion: IngestionParameters) -> ImageFolder | None:
    if parameters.blend_folder is None:
        return None
    return ImageFolder(Path(parameters.blend_folder), ingestion.size)
