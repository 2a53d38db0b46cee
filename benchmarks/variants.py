"""Variants of a method: fitted to some good images, judged on others and on copies of these with painted defects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from discrepancy.detection import LazyScores
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import Method, TrainingData, new_card
from discrepancy.methods.committee.weights import painted_copies
from discrepancy.methods.registry import METHODS
from discrepancy.metrics import evaluate
from discrepancy.training.loop import Epoch

METRICS = ("image_auroc", "pixel_auroc", "aupro_0.30")
VALIDATION = 4
"""Images after the training images that only a validation loss, or the weights of a committee, look at."""


def fit_variant(
    name: str,
    changes: Mapping[str, Any],
    images: NDArray[np.uint8],
    train: int,
    cache: Path,
    state: str,
    device: str = "cpu",
) -> tuple[Method, list[Epoch]]:
    """Fit a method with changed parameters to the first images, and return its history too.

    Args:
        name: of the method.
        changes: its parameters, as far as they are not the defaults.
        images: uint8 [N, 3, H, W]: those to train on, then those for validation.
        train: number of images to train on.
        cache: folder of features and checkpoints.
        state: name of the checkpoint; variants with the same one take up each other's finished training.
        device: where to compute.
    """
    method, size = METHODS[name], (images.shape[2], images.shape[3])
    parameters = method.Parameters.model_validate({**changes, "device": device})
    backbone = build_backbone(parameters.backbone, layers=parameters.layers_of(""))
    lazy = lazy_features(
        backbone,
        images,
        [str(index) for index in range(len(images))],
        reduction=method.reduction(backbone, parameters, size),
        dtype=parameters.cache_dtype,
        device=device,
    )
    data = TrainingData(images, FeatureCache(cache).get(lazy), train)
    prepared = method.prepare(backbone, data, parameters)
    entries = {"images": {"train": train}, **method.card_entries(parameters, prepared)}
    detector = method(
        backbone, parameters, new_card(method, parameters, backbone, image_size=size, data_digest="", **entries)
    )
    return detector, detector.fit(replace(data, prepared=prepared), cache / f"{state}.pt") or []


def judge(detector: Method, held_out: NDArray[np.uint8], paintings: int, device: str = "cpu") -> dict[str, float]:
    """Return how well a detector tells held-out good images from copies of them with a painted defect.

    Args:
        detector: the detector.
        held_out: uint8 [N, 3, H, W].
        paintings: copies of each image.
        device: where to compute.
    """
    painted, masks = painted_copies(held_out, copies=paintings, seed=11)
    scored = LazyScores(detector, np.concatenate([held_out, painted]), torch.device(device)).computed()
    every = np.concatenate([np.zeros((len(held_out), *masks.shape[1:]), bool), masks])
    values = evaluate(scored.maps, every, np.repeat([0, 1], [len(held_out), len(painted)]), scored.image_scores)
    return {name: values[name] for name in METRICS}
