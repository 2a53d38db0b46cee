"""Nodes of the training pipeline, the same for every method, which is the first argument of each node."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from discrepancy.data.images import DECODER
from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.samples import count_splits, data_digest
from discrepancy.data.splits import held_out_folds
from discrepancy.detection.cross_fitting import CrossFittedScores
from discrepancy.detection.scoring import LazyScores
from discrepancy.device_memory import memory_explained
from discrepancy.devices import computing_in, reproducible, resolve_device
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.cache import Features
from discrepancy.features.recipe import LazyFeatures, lazy_features, precision_ingredient
from discrepancy.features.reduction import Reduction
from discrepancy.methods.base import Method, Preparation, TrainingData, new_card
from discrepancy.methods.parameters import MethodParameters
from discrepancy.pipelines.training.trained_detectors import trained_detectors
from discrepancy.rows import Rows

logger = logging.getLogger(__name__)


def plan_features(
    method: type[Method],
    images: np.ndarray,
    samples: pd.DataFrame,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
) -> LazyFeatures:
    """Plan the cached features of the good images; computed when they are saved.

    They come in the order of the images' digests, whatever the split: all seeds share them.

    Args:
        method: defines the reduction of the frozen network's maps.
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        parameters: of the method.
        ingestion: for category and image size.
    """
    backbone = load_backbone(parameters, ingestion)
    good = sum(count_splits(samples))
    order = np.argsort(samples["sha256"].to_numpy(dtype=str)[:good])
    by_digest: Any = Rows(images, order)
    return lazy_features(
        backbone,
        by_digest,
        list(samples["sha256"].iloc[order]),
        reduction=method.reduction(backbone, parameters, ingestion.size),
        preprocessing=_preprocessing(samples, ingestion),
        dtype=parameters.cache_dtype,
        device=resolve_device(parameters.device),
        precision=parameters.precision,
    )


def prepare(
    method: type[Method],
    preparation: Preparation,
    images: np.ndarray,
    samples: pd.DataFrame,
    features: Features,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
) -> Any:
    """Compute a preparation that the training needs besides the features.

    Args:
        method: the method.
        preparation: the preparation to compute.
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        features: cached features of the good images, in the order of their digests.
        parameters: of the method.
        ingestion: for category and image size.
    """
    backbone = load_backbone(parameters, ingestion)
    data = training_data(method, backbone, images, samples, features, parameters, ingestion, {})
    with computing_in(parameters.precision), reproducible(parameters.deterministic, strictly=False):
        return preparation.compute(backbone, data, parameters)


def train(
    method: type[Method],
    images: np.ndarray,
    samples: pd.DataFrame,
    features: Features | None,
    checkpoint: Path | None,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
    *prepared: Any,
) -> tuple[Method, pd.DataFrame]:
    """Fit the method to the good training images.

    Args:
        method: the method.
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        features: cached features of the good images, in the order of their digests.
        checkpoint: file of the state during training; None keeps none.
        parameters: of the method.
        ingestion: for category and image size.
        prepared: results of the method's preparations, in their order.

    Returns:
        The detector, its thresholds still empty, and the history: epoch, loss, validation loss, rate, seconds; for a
        method without epochs the seconds alone.
    """
    backbone = load_backbone(parameters, ingestion)
    named = {preparation.name: value for preparation, value in zip(method.preparations, prepared, strict=True)}
    data = training_data(method, backbone, images, samples, features, parameters, ingestion, named)
    held_out = len(data.images) - data.examples
    card = new_card(
        method,
        parameters,
        backbone,
        image_size=ingestion.size,
        data_digest=data_digest(samples),
        dataset=ingestion.dataset,
        category=ingestion.category,
        preprocessing=ingestion.preprocessing_of(samples),
        images={"train": data.examples, "validation": held_out},
        **method.card_entries(parameters, named),
    )
    detector = method(backbone, parameters, card)
    if checkpoint is not None:
        for trained in trained_detectors(checkpoint.parents[1], detector.reusable):
            detector.offer(trained)
    same = ", deterministically" if parameters.deterministic else ""
    logger.info("%s: training on %s in %s%s", method.name, card.device, card.precision, same)
    began = time.perf_counter()
    explained = memory_explained(f"{method.name}: training", parameters.lighter(method.name))
    with (
        computing_in(parameters.precision),
        reproducible(parameters.deterministic, strictly=False),
        explained,
    ):
        history = detector.fit(data, checkpoint)
    if history is None:
        return detector, pd.DataFrame({"seconds": [time.perf_counter() - began]})
    return detector, pd.DataFrame([epoch.line() for epoch in history])


def train_uncached(
    method: type[Method],
    images: np.ndarray,
    samples: pd.DataFrame,
    checkpoint: Path,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
    *prepared: Any,
) -> tuple[Method, pd.DataFrame]:
    """Fit a method that caches no features; see `train`."""
    return train(method, images, samples, None, checkpoint, parameters, ingestion, *prepared)


def score_held_out(
    method: type[Method],
    trained: Method,
    images: np.ndarray,
    samples: pd.DataFrame,
    features: Features | None,
    checkpoint: Path | None,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
) -> LazyScores | CrossFittedScores:
    """Score good images that no training saw, for the thresholds; computed when it is saved.

    Args:
        method: the method.
        trained: the detector.
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        features: cached features of the good images, in the order of their digests; for cross-fitting.
        checkpoint: file of the state during training; each fold has its own beside it.
        parameters: of the method.
        ingestion: whether images are held out, or folds of them; see `cross_fitting`.
    """
    device = resolve_device(parameters.device)
    folds = held_out_folds(samples, ingestion)
    if ingestion.calibration == "holdout":
        rows = folds[0]
        return LazyScores(trained, images[rows[0] : rows[-1] + 1], device)  # splits are contiguous: a view
    backbone = load_backbone(parameters, ingestion)
    data = training_data(method, backbone, images, samples, features, parameters, ingestion, {})
    return CrossFittedScores(trained, data, parameters, folds, checkpoint, device)


def score_held_out_uncached(
    method: type[Method],
    trained: Method,
    images: np.ndarray,
    samples: pd.DataFrame,
    checkpoint: Path,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
) -> LazyScores | CrossFittedScores:
    """Score good images that no training saw, by a method that caches no features; see `score_held_out`."""
    return score_held_out(method, trained, images, samples, None, checkpoint, parameters, ingestion)


def load_backbone(parameters: MethodParameters, ingestion: IngestionParameters) -> Backbone:
    """Build the frozen network with the layers that the method uses for the category."""
    layers = parameters.layers_of(ingestion.category)
    return build_backbone(parameters.backbone, layers=layers, **parameters.backbone_options)


def training_data(
    method: type[Method],
    backbone: Backbone,
    images: np.ndarray,
    samples: pd.DataFrame,
    features: Features | None,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
    prepared: dict[str, Any],
) -> TrainingData:
    """Return the training data of a method: the good images alone, and features that are checked to be theirs.

    Raises:
        InputError: results on disk were made with other parameters or from other images.
    """
    examples, held_out = count_splits(samples)
    if tuple(images.shape[2:]) != ingestion.size:
        raise InputError(_refusal("images", ["image_size"]))
    reduction = method.reduction(backbone, parameters, ingestion.size)
    if features is not None and (others := _differences(features, backbone, reduction, samples, parameters, ingestion)):
        raise InputError(_refusal("features", others))
    good = examples + held_out
    in_order = None if features is None else features.of_images(list(samples["sha256"][:good]))
    return TrainingData(images[:good], in_order, examples, prepared)


def _differences(
    features: Features,
    backbone: Backbone,
    reduction: Reduction | None,
    samples: pd.DataFrame,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
) -> list[str]:
    """Return the names of the values with which the features were made and that this run has otherwise."""
    made = features.card["ingredients"]
    expected = {
        **backbone.identity,
        "reduction": "none" if reduction is None else dict(reduction.identity),
        "image_size": list(ingestion.size),
        "images": sorted(samples["sha256"][samples["split"] != "test"]),
        "preprocessing": _preprocessing(samples, ingestion),
        "precision": precision_ingredient(parameters.precision).get("precision"),
    }
    differing = [key for key, value in expected.items() if made.get(key) != value]
    return differing + ["cache_dtype"] * (features.card["dtype"] != parameters.cache_dtype)


def _preprocessing(samples: pd.DataFrame, ingestion: IngestionParameters) -> dict[str, Any]:
    """Return the preprocessing of the images and the version of the decoder, as JSON values."""
    return {**ingestion.preprocessing_of(samples), "decoder": list(DECODER)}


def _refusal(what: str, differing: list[str]) -> str:
    return (
        f"the {what} on disk were made with other {', '.join(dict.fromkeys(differing))}; expected those of this run: "
        "start it at the beginning, without --from-nodes"
    )
