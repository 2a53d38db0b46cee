"""Nodes of the scoring pipeline: anomaly maps, thresholds and metrics, the same for every method."""

from __future__ import annotations

import copy
import logging
import math

import numpy as np
import pandas as pd

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.samples import count_splits, join_first
from discrepancy.data.splits import held_out_names
from discrepancy.detection.scoring import LazyScores, ScoredMaps
from discrepancy.detection.thresholds import calibrated, outlines
from discrepancy.devices import resolve_device
from discrepancy.methods.base import Method
from discrepancy.methods.card import Card
from discrepancy.metrics import (
    aupro_as_published,
    best_iou,
    evaluate,
    oracle_detection_at_target,
    rate_metrics,
    region_metrics,
)
from discrepancy.peak_memory import peak_memory
from discrepancy.pipelines.scoring.parameters import ScoringParameters

logger = logging.getLogger(__name__)


def set_thresholds(
    trained: Method,
    validation_maps: ScoredMaps,
    samples: pd.DataFrame,
    parameters: ScoringParameters,
    ingestion: IngestionParameters,
) -> tuple[Method, Card]:
    """Set the thresholds of images and of outlines from held-out good images only; also return the card by itself.

    Args:
        trained: the detector.
        validation_maps: of the held-out good images.
        samples: the sample table.
        parameters: target false-alarm rate and rule.
        ingestion: whether images are held out, or folds of them.
    """
    detector = copy.copy(trained)
    detector.card = calibrated(
        trained.card,
        validation_maps,
        held_out_names(samples, ingestion),
        target=parameters.false_positive_rate,
        rule=parameters.rule,
        segmentation=parameters.segmentation,
        how="held-out" if ingestion.calibration == "holdout" else "cross-fitted",
    )
    threshold = detector.card.decision.image
    logger.info("image %s", threshold.note)
    if threshold.outliers:
        logger.warning(
            "%s: check %s among the good images; scored too far from the others to count for the threshold",
            trained.name,
            join_first(threshold.outliers),
        )
    return detector, detector.card


def score_test(
    detector: Method, images: np.ndarray, samples: pd.DataFrame, parameters: ScoringParameters
) -> LazyScores:
    """Score the test images; computed when it is saved."""
    first = sum(count_splits(samples))  # splits are contiguous: a view
    return LazyScores(detector, images[first:], resolve_device(parameters.device), parameters.batch_size)


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
        The contract's flat dict (None where a metric is not defined), and the table: image, defect, label, score, its
        ratio to the threshold, share of good parts expected to score so high, decision.
    """
    test = samples[samples["split"] == "test"].reset_index(drop=True)
    labels = test["label"].to_numpy()
    anomalous = scored.image_scores.astype(float) > card.decision.image.value
    calibration = card.decision.image.calibration
    values = evaluate(scored.maps, masks, labels, scored.image_scores)
    values["best_iou"] = best_iou(scored.maps, masks) if masks.any() else math.nan
    if parameters.papers_pro:
        defined = masks.any() and not masks.all()
        values["aupro_as_published"] = aupro_as_published(scored.maps, masks) if defined else math.nan
    values |= rate_metrics(anomalous, labels)
    target = card.decision.image.target_fpr
    if target is not None:
        values["oracle_detection_at_target"] = oracle_detection_at_target(scored.image_scores, labels, target)
    values |= region_metrics(outlines(scored, card), masks, labels)
    values["train_seconds"] = float(history["seconds"].sum())
    values["images_per_second"] = scored.images_per_second
    values |= peak_memory()
    table = test[["image", "defect", "label"]].assign(
        score=scored.image_scores.astype(float),
        relative_score=scored.image_scores / card.decision.image.value if card.decision.image.value else math.nan,
        false_alarm_probability=calibration.false_alarm_probability(scored.image_scores) if calibration else math.nan,
        decision=np.where(anomalous, "anomalous", "good"),
    )
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}, table
