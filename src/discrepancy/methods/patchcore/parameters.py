"""PatchCore's parameters, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

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
    smallest_memory: int = Field(2000, ge=1, description="... but at least so many, if there are as many")
    candidates: int | None = Field(
        30_000, ge=1, description="patches drawn at random, out of which the memory is chosen; null: all"
    )
    projection: int | None = Field(
        64, ge=1, le=1 << 14, description="length to which features are projected to choose the coreset; null: theirs"
    )
    neighbours: int = Field(9, ge=1, description="items of the memory by which the image score is weighed; 1: not")

    smoothing: float = Field(4.0, ge=0, le=LARGEST_SIGMA, description="sigma of the Gaussian on anomaly maps, px")
    image_smoothing: float = Field(0.0, ge=0, le=0, description="none: the image score comes from the patches")

    @model_validator(mode="after")
    def _room_for_the_smallest_memory(self) -> Self:
        if self.candidates is not None and self.candidates < self.smallest_memory:
            least = self.smallest_memory
            raise ValueError(f"candidates: {self.candidates} given; expected null, or {least} or more: smallest_memory")
        return self

    def memory_size(self, patches: int) -> int:
        """Return how many patches the memory keeps out of so many."""
        wanted = min(patches, max(self.smallest_memory, round(self.coreset * patches)))
        return min(wanted, self.candidate_count(patches))

    def candidate_count(self, patches: int) -> int:
        """Return out of how many patches the memory is chosen: at least a tenth more than a large coreset takes."""
        if self.candidates is None:
            return patches
        return min(patches, max(self.candidates, round(1.1 * self.coreset * patches)))
