"""PaDiM's parameters, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from discrepancy.methods.card import LARGEST_SIGMA
from discrepancy.methods.parameters import MethodParameters


class PaDiMParameters(MethodParameters):
    """Parameters of PaDiM. The defaults suit the embedded backbone on two CPU cores; `conf/paper` holds the paper's."""

    DEFAULT_LAYERS: ClassVar[Mapping[str, list[str]]] = {
        "vgg19": ["relu3_4", "relu4_4", "relu5_4"],
        "wide_resnet50_2": ["layer1", "layer2", "layer3"],
    }

    channels: int | None = Field(100, ge=1, description="drawn out of those of all layers; null: all")
    ridge: float = Field(0.01, gt=0, description="added to the diagonal of covariances")

    augmentation: Literal["none", "auto", "flips", "rotations"] = Field(
        "auto",
        description="learn from turned and mirrored copies too; auto: in poses that still look normal",
    )

    smoothing: float = Field(4.0, ge=0, le=LARGEST_SIGMA, description="sigma of the Gaussian on anomaly maps, px")
    image_smoothing: float = Field(
        0.0, ge=0, le=LARGEST_SIGMA, description="sigma of a second one before the image score's maximum, px"
    )
