"""DFR's parameters, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from discrepancy.methods.parameters import EPOCHS_BETWEEN, STEPS, GradientParameters

DEFAULT_LAYERS = {
    "tf_efficientnet_lite0": [f"blocks.{index}" for index in range(5)],
    "tf_efficientnet_lite2": [f"blocks.{index}" for index in range(5)],
    "vgg19": [
        f"relu{block}_{index}" for block, count in ((1, 2), (2, 2), (3, 4), (4, 4)) for index in range(1, count + 1)
    ],
    "wide_resnet50_2": ["layer1", "layer2", "layer3"],
}
"""The layers used by default: of vgg19 the paper's twelve."""

LARGEST_LATENT = 1 << 14
"""Widest bottleneck."""


class DFRParameters(GradientParameters):
    """Parameters of DFR. The defaults suit the embedded backbone on two CPU cores; `conf/paper` holds the paper's."""

    DEFAULT_LAYERS = DEFAULT_LAYERS
    MOST_EPOCHS = 100

    region: int = Field(8, ge=1, description="side of a region, px: features are averaged in regions")
    alignment: Literal["nearest", "bilinear", "bilinear_corners"] = Field(
        "bilinear", description="how layers are resized to one grid; nearest in the paper"
    )
    padded_maps: bool = Field(False, description="take vgg19's maps with their padding, as the authors do")

    latent_dim: int | None = Field(
        None, ge=1, le=LARGEST_LATENT, description="width of the bottleneck; default: by explained_variance"
    )
    explained_variance: float = Field(0.90, gt=0, lt=1, description="share that as many principal components explain")
    variance_images: int = Field(10, ge=1, description="number of training images used for that, the first by name")
    batch_norm: bool = Field(True, description="batch normalisation in the autoencoder")

    steps: int = Field(1500, ge=1, description=STEPS)
    checkpoint_every: int = Field(5, ge=1, description=EPOCHS_BETWEEN)
