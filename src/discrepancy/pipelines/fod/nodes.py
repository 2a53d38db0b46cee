"""Tokens, mean good image and training of FOD; what published numbers would have been; pictures of correlations."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.samples import data_digest
from discrepancy.errors import InputError
from discrepancy.features.cache import Features
from discrepancy.features.recipe import LazyFeatures
from discrepancy.methods.base import anomaly_maps
from discrepancy.methods.fod.card import describe
from discrepancy.methods.fod.correlation_figure import Correlations, Level, choose_patches, correlation_figure
from discrepancy.methods.fod.model import FOD, build_tokens, check_parameters
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.reference import lazy_mean, mean_ingredients
from discrepancy.methods.fod.training import FODTask, build_optimiser
from discrepancy.metrics import auroc
from discrepancy.steps import check_features, counts, fresh_card, load_backbone, normal_features, score_images
from discrepancy.training.launch import run_distributed
from discrepancy.training.loop import Checkpoint, Epoch, fit, resolve_device

logger = logging.getLogger(__name__)

ORACLE_METRICS = ("image_auroc", "pixel_auroc")

SUBTITLE = (
    "With which patches a patch goes together: mean over heads and layers, brightest where most. J: how far learnt and "
    "target lie apart."
)


def plan_features(
    images: np.ndarray, samples: pd.DataFrame, parameters: FODParameters, ingestion: IngestionParameters
) -> LazyFeatures:
    """Tokens of the good images (training, then validation): local means of the frozen network's maps.

    Args:
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        parameters: of FOD.
        ingestion: for category and image size.
    """
    backbone = load_backbone(parameters, ingestion)
    tokens = build_tokens(backbone, parameters, ingestion.size)
    check_parameters(tokens, parameters)
    return normal_features(backbone, images, samples, parameters, ingestion, tokens)


def plan_reference(samples: pd.DataFrame, features: Features) -> LazyFeatures:
    """The mean good image: at each position the mean of the training images' tokens; computed if not in the cache.

    Args:
        samples: the sample table.
        features: cached tokens of the good images.
    """
    return lazy_mean(features, counts(samples)[0])


def train(
    samples: pd.DataFrame,
    features: Features,
    reference: Features,
    checkpoint: Path,
    parameters: FODParameters,
    ingestion: IngestionParameters,
) -> tuple[FOD, pd.DataFrame]:
    """Train the transformers on the tokens of the good training images; the last epoch's weights count.

    Args:
        samples: the sample table.
        features: cached tokens.
        reference: the mean good image.
        checkpoint: where the state is kept meanwhile.
        parameters: of FOD.
        ingestion: for category and image size.

    Returns:
        The detector, its thresholds still empty, and the history: epoch, loss (twice L_rec), validation loss, rate,
        seconds, divergence and entropy of the correlations.
    """
    given = (samples, features, reference, checkpoint, parameters, ingestion)
    run_distributed(parameters.processes, parameters.device, _fitted, given)
    detector, history = _fitted(*given)
    detector.fit_weighing(features, range(counts(samples)[0]))
    return detector, pd.DataFrame([epoch.line() for epoch in history])


def _fitted(
    samples: pd.DataFrame,
    features: Features,
    reference: Features,
    checkpoint: Path,
    parameters: FODParameters,
    ingestion: IngestionParameters,
) -> tuple[FOD, list[Epoch]]:
    """The trained detector, on its device, and its history; alone or as one process of several."""
    detector = _untrained(samples, features, reference, parameters, ingestion)
    problem = FODTask(detector, features, examples=counts(samples)[0])
    return detector, _fit(problem, checkpoint, "fod")


def best_epoch_on_test(
    images: np.ndarray,
    masks: np.ndarray,
    samples: pd.DataFrame,
    features: Features,
    reference: Features,
    checkpoint: Path,
    parameters: FODParameters,
    ingestion: IngestionParameters,
) -> dict[str, float]:
    """What comes out if the best epoch is chosen by the test images, as published numbers were; nothing if not asked.

    The same training once more (on a CPU bit for bit), with a look at the test images after each epoch. A step by
    itself, so that no look at test images can reach the detector.

    Args:
        images: uint8 [N, 3, H, W]; the test images come last.
        masks: bool [N_test, H, W].
        samples: the sample table.
        features: cached tokens.
        reference: the mean good image.
        checkpoint: where the state is kept meanwhile.
        parameters: of FOD; `oracle` asks for it.
        ingestion: for category and image size.

    Returns:
        `oracle_image_auroc`, `oracle_pixel_auroc`: each the best of all epochs, and these epochs.
    """
    if not parameters.oracle:
        return {}
    given = (images, masks, samples, features, reference, checkpoint, parameters, ingestion)
    run_distributed(parameters.processes, parameters.device, _watched, given)
    return _best(_watched(*given))


def _watched(
    images: np.ndarray,
    masks: np.ndarray,
    samples: pd.DataFrame,
    features: Features,
    reference: Features,
    checkpoint: Path,
    parameters: FODParameters,
    ingestion: IngestionParameters,
) -> list[Epoch]:
    """The history of a training that looks at the test images after each epoch; alone or as one process of several."""
    detector = _untrained(samples, features, reference, parameters, ingestion)
    examples = counts(samples)[0]
    labels = samples["label"][samples["split"] == "test"].to_numpy()
    photographs, device = images[len(images) - len(labels) :], resolve_device(parameters.device)

    def watch(detector: FOD) -> Mapping[str, float]:
        detector.fit_weighing(features, range(examples))
        maps = np.concatenate(list(anomaly_maps(detector, photographs, device=device)))
        scores = score_images(maps, detector.card)
        pairs = {"image_auroc": (scores, labels), "pixel_auroc": (maps, masks)}
        return {name: auroc(*pair) if 0 < pair[1].mean() < 1 else math.nan for name, pair in pairs.items()}

    # Its history holds test metrics: all that decides these decides whether a checkpoint is taken up.
    scoring = {name: getattr(parameters, name) for name in sorted(FODParameters.SCORING_FIELDS)}
    seen = {"test": data_digest(samples), "masks": hashlib.sha256(np.packbits(masks).tobytes()).hexdigest()}
    problem = FODTask(detector, features, examples=examples, watch=watch)
    return _fit(problem, checkpoint, "oracle", scoring=scoring, **seen)


def draw_correlations(
    detector: FOD,
    images: np.ndarray,
    masks: np.ndarray,
    maps: np.ndarray,
    scores: pd.DataFrame,
    parameters: FODParameters,
) -> Figure:
    """Learnt correlations and their targets for a good and an anomalous patch of one test image.

    Args:
        detector: the detector.
        images: uint8 [N, 3, H, W]; the test images come last.
        masks: bool [N_test, H, W].
        maps: float32 [N_test, H, W].
        scores: one line per test image.
        parameters: of FOD; `pictured` names the image.
    """
    row = _pictured(scores, masks, parameters.pictured)
    image = np.array(images[len(images) - len(maps) + row])
    patches = choose_patches(maps[row], masks[row])
    device = resolve_device(parameters.device)
    found = detector.to(device).correlations(torch.from_numpy(image)[None].to(device), [p.place for p in patches])
    levels = [
        Level(
            name,
            [detector.cell(index, patch.place) for patch in patches],
            {branch: Correlations(*(part.cpu().numpy() for part in values)) for branch, values in branches.items()},
        )
        for index, (name, branches) in enumerate(zip(detector.levels, found, strict=True))
        if branches
    ]
    line = scores.iloc[row]
    synthetic = " (synthetic image)" if detector.card.get("dataset") == "demo" else ""
    title = f"Correlations learnt by FOD{synthetic}: {line['image']}"
    return correlation_figure(image, patches, levels, title=title, subtitle=SUBTITLE)


def _pictured(scores: pd.DataFrame, masks: np.ndarray, wanted: str) -> int:
    """The row of the test image that is asked for; `auto`: the highest score that has a mask, else the highest."""
    if wanted == "auto":
        marked = masks.any((1, 2)) & (scores["label"] == 1).to_numpy()
        return int(np.where(marked | ~marked.any(), scores["score"], -np.inf).argmax())
    matching = np.flatnonzero(scores["image"] == wanted)
    if not len(matching):
        raise InputError(f"fod.pictured: {wanted!r} is no test image; expected auto or one like {scores['image'][0]!r}")
    return int(matching[0])


def _best(history: Sequence[Epoch]) -> dict[str, float]:
    """The best value of each metric over the epochs, and its epoch; without those that are not defined."""
    found: dict[str, float] = {}
    for name in ORACLE_METRICS:
        defined = [entry for entry in history if not math.isnan(entry.noted[name])]
        if defined:
            best = max(defined, key=lambda entry: entry.noted[name])
            found |= {f"oracle_{name}": best.noted[name], f"oracle_{name}_epoch": best.epoch}
    logger.info("fod: chosen by the test images, as no honest number is: %s", found)
    return found


def _untrained(
    samples: pd.DataFrame,
    features: Features,
    reference: Features,
    parameters: FODParameters,
    ingestion: IngestionParameters,
) -> FOD:
    """The detector as training finds it, on its device."""
    backbone = load_backbone(parameters, ingestion)
    detector = FOD(
        backbone, parameters, fresh_card(FOD.method, backbone, samples, parameters, ingestion, **describe(parameters))
    )
    check_features(features, backbone, samples, ingestion, dtype=parameters.cache_dtype, reduction=detector.tokens)
    if reference.card["ingredients"] != mean_ingredients(features, counts(samples)[0]):
        raise InputError(
            "the mean good image on disk is of other features; expected that of this run: start it at the beginning, "
            "without --from-nodes"
        )
    if parameters.standardise:
        detector.set_statistics(features.channel_statistics())
    detector.set_reference(reference.tensors([0]))
    return detector.to(resolve_device(parameters.device))


def _fit(problem: FODTask, checkpoint: Path, name: str, **more: Any) -> list[Epoch]:
    """Train the transformers; the state on the way belongs to these parameters and features, and to what is more."""
    detector = problem.detector
    fingerprint = detector.parameters_used.fingerprint(problem.features, examples=problem.examples, **more)
    return fit(
        detector.transformers,
        problem,
        detector.parameters_used.training,
        device=problem.device,
        name=name,
        checkpoint=Checkpoint(checkpoint, fingerprint),
        optimiser=build_optimiser(detector),
    )
