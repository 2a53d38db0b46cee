"""The room that the cached features of a benchmark take: told before it begins, not by a full disk hours later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from discrepancy.benchmark.plan import Trial
from discrepancy.data.layouts import scan_category
from discrepancy.data.parameters import IngestionParameters
from discrepancy.errors import InputError
from discrepancy.features.recipe import fingerprint_of, kept_shapes
from discrepancy.methods.base import Method
from discrepancy.methods.parameters import MethodParameters
from discrepancy.methods.registry import METHODS
from discrepancy.pipelines.training.nodes import load_backbone


def feature_bytes(trials: Iterable[Trial], parameters: Mapping[str, Any], data_root: Path) -> int | None:
    """Return the size of the features that trials will find in the cache or write there.

    Seeds share features, and so do methods that look at the same layers. Features derived from these are not counted.

    Args:
        trials: what will run.
        parameters: of every run, nested.
        data_root: folder of the categories.

    Returns:
        Bytes; None where the photographs are not there yet, or some parameter is refused (the trials will say so).
    """
    sizes: dict[tuple[str, str], tuple[str, int]] = {}  # by method and layers
    needed: dict[tuple[str, str], int] = {}
    try:
        for category, method in {(trial.category, trial.method): None for trial in trials}:
            kind = METHODS[method]
            if not kind.uses_cache:
                continue
            own = kind.Parameters.model_validate(parameters[method])
            layers = (method, str(own.layers_of(category)))
            if layers not in sizes:
                ingestion = IngestionParameters.model_validate({**parameters["ingestion"], "category": category})
                sizes[layers] = _image_bytes(kind, own, ingestion)
            key, size = sizes[layers]
            needed[category, key] = size
        counts = {category: _good_images(str(parameters["dataset"]), data_root, category) for category, _ in needed}
    except (InputError, OSError):
        return None
    return sum(size * counts[category] for (category, _), size in needed.items())


def _image_bytes(method: type[Method], parameters: MethodParameters, ingestion: IngestionParameters) -> tuple[str, int]:
    """Return a fingerprint that equal features share, and the bytes of one image's."""
    # Sizes do not depend on the weights, which may not have been downloaded yet.
    backbone = load_backbone(parameters.model_copy(update={"weights": "random"}), ingestion)
    reduction = method.reduction(backbone, parameters, ingestion.size)
    shapes = kept_shapes(backbone, reduction, *ingestion.size)
    identity = {**backbone.identity, "weights": parameters.weights}
    made = [identity, None if reduction is None else dict(reduction.identity), parameters.cache_dtype]
    size = sum(map(prod, shapes.values())) * np.dtype(parameters.cache_dtype).itemsize
    return fingerprint_of({"features": made}), size


def _good_images(dataset: str, data_root: Path, category: str) -> int:
    return sum(record.split != "test" for record in scan_category(dataset, data_root, category).found)
