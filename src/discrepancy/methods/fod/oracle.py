"""The best epoch selected on the test set, as in published numbers. Optimistic, for comparison only; off by default."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from discrepancy.detection.scoring import LazyScores
from discrepancy.device_memory import memory_explained
from discrepancy.features.cache import Features
from discrepancy.methods.base import TrainingData, backbone_of
from discrepancy.methods.card import Card
from discrepancy.methods.fod.model import FOD
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.training import FODTask
from discrepancy.metrics import auroc
from discrepancy.training.launch import run_distributed
from discrepancy.training.loop import Checkpoint, Epoch, fit

logger = logging.getLogger(__name__)

ORACLE_METRICS = ("image_auroc", "pixel_auroc")


def best_epoch_on_test(
    trained: FOD,
    images: np.ndarray,
    masks: np.ndarray,
    samples: pd.DataFrame,
    features: Features,
    reference: Features,
    checkpoint: Path,
    parameters: FODParameters,
) -> dict[str, float]:
    """Train once more and evaluate the test images after each epoch; do nothing unless `oracle` is set.

    The training is the same (on a CPU bit for bit), in a node of its own, so that no evaluation on test images can
    reach the detector.

    Args:
        trained: the detector; its card is taken, its weights are not.
        images: uint8 [N, 3, H, W]; the test images come last.
        masks: bool [N_test, H, W].
        samples: the sample table.
        features: cached tokens of the good images.
        reference: the mean normal image.
        checkpoint: file of the state during training.
        parameters: of FOD.

    Returns:
        `oracle_image_auroc`, `oracle_pixel_auroc`: each the best of all epochs, and these epochs.
    """
    if not parameters.oracle:
        return {}
    examples = int((samples["split"] == "train").sum())
    tokens = features.of_images(list(samples["sha256"][samples["split"] != "test"]))
    data = TrainingData(images, tokens, examples, {"reference": reference})
    labels = samples["label"][samples["split"] == "test"].to_numpy()
    given = (trained.card, parameters, data, masks, labels, checkpoint)
    run_distributed(parameters.processes, parameters.device, _watched, given)
    return _best(_watched(*given))


def _watched(
    card: Card, parameters: FODParameters, data: TrainingData, masks: np.ndarray, labels: np.ndarray, checkpoint: Path
) -> list[Epoch]:
    """Return the history of a training that is evaluated on test images; alone or as one process of several."""
    detector = FOD(backbone_of(card), parameters, card)
    detector.set_up(data)
    photographs = data.images[len(data.images) - len(labels) :]

    def watch(detector: FOD) -> Mapping[str, float]:
        detector.fit_residual_scaler(data)
        scored = LazyScores(detector, photographs, detector.device).computed()
        pairs = {"image_auroc": (scored.image_scores, labels), "pixel_auroc": (scored.maps, masks)}
        return {name: auroc(*pair) if 0 < pair[1].mean() < 1 else math.nan for name, pair in pairs.items()}

    # Its history holds test metrics: the fingerprint of a checkpoint covers all that decides these.
    scoring = {name: getattr(parameters, name) for name in sorted(FODParameters.SCORING_FIELDS)}
    seen = {"test": card.data_digest, "masks": hashlib.sha256(np.packbits(masks).tobytes()).hexdigest()}
    fingerprint = parameters.fingerprint(data.cached, examples=data.examples, scoring=scoring, **seen)
    with memory_explained("fod: training the oracle", parameters.lighter("fod")):
        device = detector.to_training_device()
        return fit(
            detector.transformers,
            FODTask(detector, data, watch=watch),
            parameters.training(data.examples),
            device=device,
            name="oracle",
            checkpoint=Checkpoint(checkpoint, fingerprint),
            optimiser=detector.optimiser(),
        )


def _best(history: Sequence[Epoch]) -> dict[str, float]:
    """Return the best value of each metric over the epochs, and its epoch; undefined values are left out."""
    found: dict[str, float] = {}
    for name in ORACLE_METRICS:
        defined = [entry for entry in history if not math.isnan(entry.noted[name])]
        if defined:
            best = max(defined, key=lambda entry: entry.noted[name])
            found |= {f"oracle_{name}": best.noted[name], f"oracle_{name}_epoch": best.epoch}
    logger.info("fod: best epoch selected on the test set (optimistic, for comparison only): %s", found)
    return found
