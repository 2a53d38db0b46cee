"""Features and training of DFC."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.cache import Features
from discrepancy.features.recipe import FeatureRecipe, feature_recipe
from discrepancy.inspection.parameters import IngestionParameters
from discrepancy.inspection.photographs import ImageFolder
from discrepancy.inspection.samples import data_digest
from discrepancy.methods.detector import new_card
from discrepancy.methods.dfc import DFC, DFCProblem, build_corruption, check_estimator, describe
from discrepancy.methods.dfc_parameters import DFCParameters
from discrepancy.methods.training import Checkpoint, fit, resolve_device


def recipe_features(
    images: np.ndarray, samples: pd.DataFrame, parameters: DFCParameters, ingestion: IngestionParameters
) -> FeatureRecipe:
    """What the frozen network gives for the good images (training, then validation); computed if not in the cache.

    Args:
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        parameters: of DFC.
        ingestion: for the category.
    """
    good = int((samples["split"] != "test").sum())
    backbone = _backbone(parameters, ingestion)
    check_estimator(backbone, parameters, ingestion.image_size)
    return feature_recipe(
        backbone,
        images[:good],
        list(samples["sha256"][:good]),
        preprocessing={"resample": "bilinear, antialiased"},
        dtype=parameters.cache_dtype,
        device=resolve_device(parameters.device),
    )


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
    splits = samples["split"].value_counts()
    examples, held_out = int(splits["train"]), int(splits["validation"])
    backbone = _backbone(parameters, ingestion)
    _check_features(features, backbone, images, samples, ingestion)
    card = new_card(
        DFC.method,
        parameters.model_dump(mode="json"),
        backbone,
        image_size=ingestion.image_size,
        sigma=parameters.image_smoothing,
        data_digest=data_digest(samples),
        dataset=ingestion.dataset,
        category=ingestion.category,
        images={"train": examples, "validation": held_out},
        **describe(parameters),
    )
    device = resolve_device(parameters.device)
    detector = DFC(backbone, parameters, card)
    if parameters.standardise:
        detector.set_statistics(features.channel_statistics())
    detector.to(device)
    good = images[: examples + held_out]
    corruption = build_corruption(parameters, _blend_images(parameters, ingestion))
    problem = DFCProblem(detector, good, features, examples=examples, corruption=corruption)
    state = Checkpoint(checkpoint, parameters.fingerprint(features, examples=examples))
    history = fit(detector.estimator, problem, parameters.training, device=device, name="dfc", checkpoint=state)
    detector.fit_weighing(good, features, range(examples))
    return detector, pd.DataFrame([asdict(epoch) for epoch in history])


def _backbone(parameters: DFCParameters, ingestion: IngestionParameters) -> Backbone:
    return build_backbone(
        parameters.backbone,
        layers=parameters.layers_of(ingestion.category),
        weights=parameters.weights,
        pooling=parameters.pooling,
        padding=parameters.padding,
    )


def _blend_images(parameters: DFCParameters, ingestion: IngestionParameters) -> ImageFolder | None:
    if parameters.blend_folder is None:
        return None
    return ImageFolder(Path(parameters.blend_folder), ingestion.image_size)


def _check_features(
    features: Features,
    backbone: Backbone,
    images: np.ndarray,
    samples: pd.DataFrame,
    ingestion: IngestionParameters,
) -> None:
    """Refuse what an earlier run left behind, when a run starts in the middle with other parameters."""
    made = features.card["ingredients"]
    good = list(samples["sha256"][samples["split"] != "test"])
    wanted = {**backbone.identity, "image_size": list(ingestion.image_size), "images": good}
    differing = [key for key, value in wanted.items() if made.get(key) != value]
    if tuple(images.shape[2:]) != ingestion.image_size:
        differing.append("image_size")
    if differing:
        raise InputError(
            f"the features on disk were made with other {', '.join(dict.fromkeys(differing))}; expected those of this "
            "run: start it at the beginning, without --from-nodes"
        )
