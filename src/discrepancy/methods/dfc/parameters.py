"""DFC's parameters, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from discrepancy.methods.parameters import BY_CONTENT, STEPS, GradientParameters, split_names


class DFCParameters(GradientParameters):
    """Parameters of DFC. The defaults suit the embedded backbone on two CPU cores; `conf/paper` holds the paper's."""

    pooling: Literal["max", "avg"] = Field("avg", description="pooling of a vgg19 backbone")
    layers_by_category: dict[str, list[str]] = Field({}, description="layers of single categories, in place of those")

    estimator: Literal["compact", "vgg19"] = Field("compact", description="estimation network")
    width: int = Field(64, ge=8, le=8192, multiple_of=8, description="channels of the compact network at stride 8")
    blocks: int = Field(1, ge=1, le=64, description="residual blocks per MCRL branch")

    corruptions: list[Literal["mean_colour", "inpaint", "colour", "noise"]] = Field(
        ["mean_colour", "inpaint", "colour", "noise"], min_length=1, description="fills of SFE's strokes, a+b"
    )
    blend_folder: str | None = Field(None, description="folder of images for a fifth fill; the paper's is ImageNet")
    stroke_margin: int = Field(0, ge=0, le=120, description="strokes keep this far from the border, px of 256")
    corrupted_weight: float = Field(1.0, ge=0, description="alpha: weight of the corrupted images' loss")

    steps: int = Field(1800, ge=1, description=STEPS)

    by_content: float = Field(0.5, ge=0, le=1, description=BY_CONTENT)

    @field_validator("corruptions", mode="before")
    @classmethod
    def _split_corruptions(cls, value: Any) -> Any:
        return split_names(value)

    @property
    def fills(self) -> list[str]:
        """The corruptions in use; `image` is one of them if there is a folder to blend from."""
        return [*self.corruptions, *(["image"] if self.blend_folder else [])]

    def layers_of(self, category: str) -> list[str] | None:
        """Return the layers to predict for a category; None: the backbone's own choice."""
        return self.layers_by_category.get(category, self.layers)
