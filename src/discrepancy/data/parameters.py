"""Parameters of ingestion, on which every later step relies."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from pydantic import Field, field_validator, model_validator

from discrepancy.data.images import ImageSize, ResizeCrop, parse_image_size
from discrepancy.parameters import Parameters


class IngestionParameters(Parameters):
    """Parameters that turn photographs into arrays."""

    dataset: str = Field("demo", description="how the photographs are laid out")
    category: str = Field(description="the part")
    image_size: tuple[int, int] = Field((256, 256), description="height and width, px; one number for a square")
    crop: tuple[int, int] | None = Field(
        None, description="height and width cut out of the centre after resizing, px; null keeps the whole photograph"
    )
    bit_depth: int | None = Field(
        None, ge=8, le=16, description="bits that photographs of 16 bits per channel use; null: as the files say"
    )
    calibration: Literal["holdout", "cross"] = Field(
        "holdout", description="thresholds from images that are held out, or from all by cross-fitting"
    )
    validation_fraction: float = Field(0.2, ge=0, lt=1, description="share of good training images held out")
    validation_minimum: int = Field(10, ge=1, description="... but at least so many, and never more than half")
    folds: int = Field(5, ge=2, description="of cross-fitting: a detector is trained without each in turn")
    seed: int = Field(0, ge=0, description="draws the validation images, or the folds")

    @field_validator("image_size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> tuple[int, int]:
        return parse_image_size(list(value) if isinstance(value, tuple) else value)

    @field_validator("crop", mode="before")
    @classmethod
    def _crop(cls, value: Any) -> tuple[int, int] | None:
        return (
            None if value is None else parse_image_size(list(value) if isinstance(value, tuple) else value, name="crop")
        )

    @model_validator(mode="after")
    def _fits(self) -> IngestionParameters:
        _ = self.resize_crop
        return self

    @property
    def resize_crop(self) -> ResizeCrop:
        """Geometry of the network's input."""
        return ResizeCrop(self.image_size, self.crop)

    @property
    def size(self) -> ImageSize:
        """(height, width) of the arrays, px: the crop's if there is one."""
        return self.resize_crop.size

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Values that decide the arrays, as JSON values; besides them the photographs' own bit depth."""
        crop = {"resized_to": list(self.image_size), "crop": "centre"} if self.crop else {}
        depth = {"bit_depth": self.bit_depth} if self.bit_depth else {}
        return {"resample": "bilinear, antialiased", **crop, **depth}

    def preprocessing_of(self, samples: pd.DataFrame) -> dict[str, Any]:
        """Return the values that decide the arrays of a sample table, with the bit depth that was found for it."""
        found = int(samples["bit_depth"].iloc[0])
        return {**({"bit_depth": found} if found else {}), **self.preprocessing}
