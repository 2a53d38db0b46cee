"""Anomaly maps, thresholds and metrics: the same for every method."""

from __future__ import annotations

import copy
import logging
import math
import resource
from functools import partial

import numpy as np
import pandas as pd
import torch

from discrepancy.data.lazy_array import LazyArray
from discrepancy.methods.base import Card, Detector, ScoringClock, anomaly_maps
from discrepancy.metrics import best_iou, evaluate, threshold_at_fpr
from discrepancy.pipelines.scoring.parameters import ScoringParameters
from discrepancy.steps import score_images
from discrepancy.training.loop import resolve_device

logger = logging.getLogger(__name__)


def score_validation(
    trained: Detector, images: np.ndarray, samples: pd.DataFrame, parameters: ScoringParameters
) -> LazyArray:
    """Anomaly maps of the held-out good images, float32 [N_validation, H, W]."""
    return _maps(trained, images, samples, "validation", parameters, ScoringClock())


def set_thresholds(
    trained: Detector, validation_maps: np.ndarray, parameters: ScoringParameters
) -> tuple[Detector, Card]:
    """The detector with two thresholds on its card, both from held-out good images only; and the card by itself.

    Args:
        trained: the detector.
        validation_maps: float32 [N_validation, H, W].
        parameters: the wished false-positive rate.
    """
    scores = score_images(validation_maps, trained.card)
    rate = parameters.false_positive_rate
    thresholds = {
        "pixel": threshold_at_fpr(validation_maps, fpr=rate, images=len(validation_maps)),
        "image": threshold_at_fpr(scores, fpr=rate),
    }
    detector = copy.copy(trained)
    detector.card = {
        **trained.card,
        "thresholds": {
            kind: {
                "value": threshold.value,
                "wished_false_positive_rate": threshold.fpr,
                "images": threshold.images,
                "note": threshold.describe(),
            }
            for kind, threshold in thresholds.items()
        },
    }
    logger.info("image %s", thresholds["image"].describe())
    return detector, detector.card


def score_test(
    detector: Detector, images: np.ndarray, samples: pd.DataFrame, parameters: ScoringParameters
) -> tuple[LazyArray, ScoringClock]:
    """Anomaly maps of the test images, float32 [N_test, H, W], raw; and the clock that runs while they are drawn."""
    clock = ScoringClock()
    return _maps(detector, images, samples, "test", parameters, clock), clock


def evaluate_test(
    card: Card,
    maps: np.ndarray,
    masks: np.ndarray,
    samples: pd.DataFrame,
    history: pd.DataFrame,
    clock: ScoringClock,
) -> tuple[dict[str, float | None], pd.DataFrame]:
    """Metrics of the whole test set, and one line per test image.

    Args:
        card: the detector's, for image score and threshold.
        maps: float32 [N_test, H, W].
        masks: bool [N_test, H, W].
        samples: the sample table.
        history: of the training.
        clock: of the scoring.

    Returns:
        The contract's flat dict (None where a metric is not defined), and the table: image, defect, label, score,
        decision.
    """
    test = samples[samples["split"] == "test"].reset_index(drop=True)
    scores = score_images(maps, card)
    labels = test["label"].to_numpy()
    anomalous = scores > card["thresholds"]["image"]["value"]
    values = evaluate(maps, masks, labels, scores)
    values["best_iou"] = best_iou(maps, masks) if masks.any() else math.nan
    values["false_alarm_rate"] = _share(anomalous[labels == 0])
    values["detection_rate"] = _share(anomalous[labels == 1])
    values["train_seconds"] = float(history["seconds"].sum())
    values["images_per_second"] = clock.images_per_second
    values["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        values["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    table = test[["image", "defect", "label"]].assign(
        score=scores.astype(float), decision=np.where(anomalous, "anomalous", "good")
    )
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}, table


def _maps(
    detector: Detector,
    images: np.ndarray,
    samples: pd.DataFrame,
    split: str,
    parameters: ScoringParameters,
    clock: ScoringClock,
) -> LazyArray:
    rows = np.flatnonzero(samples["split"] == split)
    part = images[rows[0] : rows[-1] + 1]  # splits are contiguous: a view
    device = resolve_device(parameters.device)
    pieces = partial(anomaly_maps, detector, part, device=device, batch_size=parameters.batch_size)
    return LazyArray((len(part), *images.shape[2:]), np.dtype(np.float32), lambda: clock.watch(pieces()))


def _share(decisions: np.ndarray) -> float:
    return float(decisions.mean()) if len(decisions) else math.nan
