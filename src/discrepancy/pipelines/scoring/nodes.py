"""Nodes of the scoring pipeline: anomaly maps, thresholds and metrics, the same for every method."""

from __future__ import annotations

import copy
import logging
import math
import resource

import numpy as np
import pandas as pd
import torch

from discrepancy.detection.scoring import LazyScores, ScoredMaps
from discrepancy.devices import resolve_device
from discrepancy.methods.base import Method
from discrepancy.methods.card import Card
from discrepancy.metrics import aupro_as_published, best_iou, evaluate, threshold_at_fpr
from discrepancy.pipelines.scoring.parameters import ScoringParameters

logger = logging.getLogger(__name__)


def score_validation(
    trained: Method, images: np.ndarray, samples: pd.DataFrame, parameters: ScoringParameters
) -> LazyScores:
    """Score the held-out good images; computed when it is saved."""
    return _scores(trained, images, samples, "validation", parameters)


def set_thresholds(trained: Method, validation_maps: ScoredMaps, parameters: ScoringParameters) -> tuple[Method, Card]:
    """Set the thresholds of pixels and images from held-out good images only; also return the card by itself.

    Args:
        trained: the detector.
        validation_maps: of the held-out good images.
        parameters: the target false-positive rate.
    """
    rate, maps = parameters.false_positive_rate, validation_maps.maps
    thresholds = {
        "pixel": threshold_at_fpr(maps, fpr=rate, images=len(maps)),
        "image": threshold_at_fpr(validation_maps.image_scores, fpr=rate),
    }
    detector = copy.copy(trained)
    detector.card = trained.card.with_entries(
        thresholds={
            kind: {
                "value": threshold.value,
                "target_fpr": threshold.fpr,
                "images": threshold.images,
                "note": threshold.describe(),
            }
            for kind, threshold in thresholds.items()
        }
    )
    logger.info("image %s", thresholds["image"].describe())
    return detector, detector.card


def score_test(
    detector: Method, images: np.ndarray, samples: pd.DataFrame, parameters: ScoringParameters
) -> LazyScores:
    """Score the test images; computed when it is saved."""
    return _scores(detector, images, samples, "test", parameters)


def evaluate_test(
    card: Card,
    scored: ScoredMaps,
    masks: np.ndarray,
    samples: pd.DataFrame,
    history: pd.DataFrame,
    parameters: ScoringParameters,
) -> tuple[dict[str, float | None], pd.DataFrame]:
    """Compute the metrics of the whole test set, and one line per test image.

    Args:
        card: the detector's, for the threshold.
        scored: the test images' maps and scores.
        masks: bool [N_test, H, W].
        samples: the sample table.
        history: of the training.
        parameters: whether to compute the AUPRO as the papers' programs do, too.

    Returns:
        The contract's flat dict (None where a metric is not defined), and the table: image, defect, label, score,
        decision.
    """
    test = samples[samples["split"] == "test"].reset_index(drop=True)
    labels = test["label"].to_numpy()
    anomalous = scored.image_scores > card.decision.image.value
    values = evaluate(scored.maps, masks, labels, scored.image_scores)
    values["best_iou"] = best_iou(scored.maps, masks) if masks.any() else math.nan
    if parameters.papers_pro:
        defined = masks.any() and not masks.all()
        values["aupro_as_published"] = aupro_as_published(scored.maps, masks) if defined else math.nan
    values["false_alarm_rate"] = _share(anomalous[labels == 0])
    values["detection_rate"] = _share(anomalous[labels == 1])
    values["train_seconds"] = float(history["seconds"].sum())
    values["images_per_second"] = scored.images_per_second
    values["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        values["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    table = test[["image", "defect", "label"]].assign(
        score=scored.image_scores.astype(float), decision=np.where(anomalous, "anomalous", "good")
    )
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}, table


def _scores(
    detector: Method, images: np.ndarray, samples: pd.DataFrame, split: str, parameters: ScoringParameters
) -> LazyScores:
    rows = np.flatnonzero(samples["split"] == split)
    part = images[rows[0] : rows[-1] + 1]  # splits are contiguous: a view
    return LazyScores(detector, part, resolve_device(parameters.device), parameters.batch_size)


def _share(decisions: np.ndarray) -> float:
    return float(decisions.mean()) if len(decisions) else math.nan
