"""What the steps of several pipelines share: the frozen network, the good images, features checked, image scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.samples import data_digest
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.cache import Features
from discrepancy.features.recipe import LazyFeatures, lazy_features
from discrepancy.features.reduction import Reduction
from discrepancy.methods.base import Card, image_scores, new_card
from discrepancy.methods.parameters import MethodParameters
from discrepancy.training.loop import resolve_device


def load_backbone(parameters: MethodParameters, ingestion: IngestionParameters) -> Backbone:
    """The backbone with the layers that the method uses for the category."""
    return build_backbone(
        parameters.backbone, layers=parameters.layers_of(ingestion.category), **parameters.backbone_options
    )


def normal_features(
    backbone: Backbone,
    images: np.ndarray,
    samples: pd.DataFrame,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
    reduction: Reduction | None = None,
) -> LazyFeatures:
    """What the frozen network gives for the good images (training, then validation); computed if not in the cache.

    Args:
        backbone: the frozen network.
        images: uint8 [N, 3, H, W], rows as in the sample table: train, validation, test.
        samples: the sample table.
        parameters: of the method.
        ingestion: says how the images were made of photographs.
        reduction: what is kept of the maps; None keeps them.
    """
    good = int((samples["split"] != "test").sum())
    return lazy_features(
        backbone,
        images[:good],
        list(samples["sha256"][:good]),
        reduction=reduction,
        preprocessing=preprocessing(ingestion),
        dtype=parameters.cache_dtype,
        device=resolve_device(parameters.device),
    )


def preprocessing(ingestion: IngestionParameters) -> dict[str, Any]:
    """How photographs became images of this size, as JSON values."""
    crop = {"resized_to": list(ingestion.image_size), "crop": "centre"} if ingestion.crop else {}
    depth = {"bit_depth": ingestion.bit_depth} if ingestion.bit_depth else {}
    return {"resample": "bilinear, antialiased", **crop, **depth}


def counts(samples: pd.DataFrame) -> tuple[int, int]:
    """Numbers of training images and of held-out good images."""
    splits = samples["split"].value_counts()
    return int(splits["train"]), int(splits["validation"])


def fresh_card(
    method: str,
    backbone: Backbone,
    samples: pd.DataFrame,
    parameters: MethodParameters,
    ingestion: IngestionParameters,
    **more: Any,
) -> Card:
    """The card of the detector that is about to be trained."""
    examples, held_out = counts(samples)
    return new_card(
        method,
        parameters.model_dump(mode="json"),
        backbone,
        image_size=ingestion.size,
        sigma=parameters.image_smoothing,
        data_digest=data_digest(samples),
        dataset=ingestion.dataset,
        category=ingestion.category,
        preprocessing=preprocessing(ingestion),
        images={"train": examples, "validation": held_out},
        **more,
    )


def check_features(
    features: Features,
    backbone: Backbone,
    samples: pd.DataFrame,
    ingestion: IngestionParameters,
    *,
    dtype: str,
    images: np.ndarray | None = None,
    reduction: Reduction | None = None,
) -> None:
    """Refuse what an earlier run left behind, when a run starts in the middle with other parameters.

    Raises:
        InputError: features (or images) of other ingredients than this run's.
    """
    made = features.card["ingredients"]
    good = list(samples["sha256"][samples["split"] != "test"])
    kept = "none" if reduction is None else dict(reduction.identity)
    wanted = {**backbone.identity, "reduction": kept, "image_size": list(ingestion.size), "images": good}
    wanted["preprocessing"] = preprocessing(ingestion)
    differing = [key for key, value in wanted.items() if made.get(key) != value]
    if features.card["dtype"] != dtype:
        differing.append("cache_dtype")
    if images is not None and tuple(images.shape[2:]) != ingestion.size:
        differing.append("image_size")
    if differing:
        raise InputError(
            f"the features on disk were made with other {', '.join(dict.fromkeys(differing))}; expected those of this "
            "run: start it at the beginning, without --from-nodes"
        )


def score_images(maps: np.ndarray, card: Card) -> np.ndarray:
    """Image scores of maps [N, H, W] by the card's rule, in pieces: float32 [N]."""
    pieces = (torch.from_numpy(np.array(maps[start : start + 64])) for start in range(0, len(maps), 64))
    return np.concatenate([image_scores(piece, card).numpy() for piece in pieces])
