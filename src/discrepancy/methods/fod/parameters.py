"""FOD's parameters, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from discrepancy.methods.fod.transformer import INTER, INTRA
from discrepancy.methods.parameters import EPOCHS_BETWEEN, GradientParameters, split_names

DEFAULT_LAYERS = {
    "tf_efficientnet_lite0": ["blocks.2", "blocks.4"],
    "tf_efficientnet_lite2": ["blocks.2", "blocks.4"],
    "tf_efficientnet_b6": ["blocks.2", "blocks.4"],
    "vgg19": ["relu4_4", "relu5_4"],
    "wide_resnet50_2": ["layer2", "layer3"],
}
"""The layers used by default: strides 8 and 16."""


class FODParameters(GradientParameters):
    """Parameters of FOD. The defaults suit the embedded backbone on two CPU cores; `conf/paper` holds the paper's."""

    DEFAULT_LAYERS = DEFAULT_LAYERS
    MOST_EPOCHS = 12
    SCORING_FIELDS = GradientParameters.SCORING_FIELDS | {"correlation", "balanced", "pictured", "oracle"}
    FINAL_FIELDS = frozenset({"pictured", "oracle"})

    widths: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        [128, 128], min_length=1, description="width of a token, for each layer in their order, a+b"
    )
    heads: int = Field(2, ge=1, le=1024, description="heads of every attention")
    depth: int = Field(2, ge=1, le=64, description="layers of each transformer")
    with_intra: bool = Field(True, description="correlations with the other tokens of the image")
    with_inter: bool = Field(True, description="correlations with the mean normal image")
    as_figure: bool = Field(
        False, description="attentions with skip connection and output projection as in the paper's figure"
    )
    divergence_weight: float = Field(0.5, ge=0, description="lambda 1: of learnt correlations against their targets")
    entropy_weight: float = Field(0.5, ge=0, description="lambda 2: of the entropy of learnt correlations")
    zero_gradient_steps: bool = Field(
        False, description="a second Adam step per batch on zero gradients, as the authors' program took with PyTorch 1"
    )
    oracle: bool = Field(
        False, description="train once more and evaluate the test images after each epoch, as published numbers do"
    )

    checkpoint_every: int = Field(5, ge=1, description=EPOCHS_BETWEEN)
    batch_size: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)

    correlation: Literal["auto", "inter", "intra", "none"] = Field(
        "none", description="factor of the reconstruction error; auto: inter, else intra, as trained"
    )
    pictured: str = Field(
        "auto", description="test image whose correlations the report shows, its path; auto: the clearest defect"
    )
    balanced: bool = Field(False, description="with a correlation: make up for the levels' numbers of tokens")

    @field_validator("widths", mode="before")
    @classmethod
    def _split_widths(cls, value: Any) -> Any:
        return split_names(value) if not isinstance(value, int) else [value]

    @property
    def branches(self) -> list[str]:
        """The correlations that are trained."""
        return [name for name, wanted in ((INTRA, self.with_intra), (INTER, self.with_inter)) if wanted]

    @property
    def scored(self) -> str | None:
        """The correlation by which the reconstruction error is multiplied; None: none."""
        if self.correlation == "auto":
            return INTER if self.with_inter else INTRA if self.with_intra else None
        return None if self.correlation == "none" else self.correlation
