"""PatchCore's parameters, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from discrepancy.methods.card import LARGEST_SIGMA
from discrepancy.methods.parameters import MethodParameters


class PatchCoreParameters(MethodParameters):
    """Parameters of PatchCore. The defaults suit the embedded backbone on two CPU cores; `conf/paper` has the paper's.

    Where no layers are named they are two at strides 8 and 16, as in the paper.
    """

    DEFAULT_LAYERS: ClassVar[Mapping[str, list[str]]] = {"vgg19": ["relu4_4", "relu5_4"]}

    dimension: int | None = Field(
        None, ge=1, le=1 << 14, description="length of patch features; null: all channels; 1024 in the paper"
    )
    coreset: float = Field(0.01, gt=0, le=1, description="share of the patches that the memory keeps")
    projection: int | None = Field(
        64, ge=1, le=1 << 14, description="length to which features are projected to choose the coreset; null: theirs"
    )
    neighbours: int = Field(9, ge=1, description="items of the memory by which the image score is weighed; 1: not")

    smoothing: float = Field(4.0, ge=0, le=LARGEST_SIGMA, description="sigma of the Gaussian on anomaly maps, px")
    image_smoothing: float = Field(0.0, ge=0, le=0, description="none: the image score comes from the patches")
