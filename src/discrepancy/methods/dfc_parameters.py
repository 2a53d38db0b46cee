"""DFC's parameters: what a user can set, with defaults for the embedded backbone on two CPU cores."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Any, Literal

import torch
from pydantic import Field, field_validator

from discrepancy.features.cache import Features
from discrepancy.methods.training import TrainingSettings, resolve_device
from discrepancy.parameters import Parameters


class DFCParameters(Parameters):
    """Parameters of DFC. The defaults suit the embedded backbone on two CPU cores; `conf/paper` holds the paper's."""

    backbone: str = Field("tf_efficientnet_lite0", description="frozen network")
    weights: str = Field("auto", description="auto, a published name, or the path of a weights file")
    pooling: Literal["max", "avg"] = Field("avg", description="pooling of a vgg19 backbone")
    padding: Literal["reflect", "zeros"] = Field("reflect", description="what lies beyond the border")
    layers: list[str] | None = Field(None, min_length=1, description="layers to predict, a+b; default: the backbone's")
    layers_by_category: dict[str, list[str]] = Field({}, description="layers of single categories, in place of those")
    cache_dtype: Literal["float32", "float16"] = Field("float32", description="type of the cached features")

    estimator: Literal["compact", "vgg19"] = Field("compact", description="estimation network")
    width: int = Field(64, ge=8, multiple_of=8, description="channels of the compact network at stride 8")
    blocks: int = Field(1, ge=1, description="residual blocks per MCRL branch")
    standardise: bool = Field(True, description="predict features of mean 0 and deviation 1 per channel")
    residuals: Literal["raw", "diagonal", "whitened"] = Field(
        "whitened", description="residuals as they are, or weighed by their deviation or covariance on good images"
    )
    by_position: bool = Field(True, description="divide maps by what is usual at each position of good images")

    corruptions: list[Literal["mean_colour", "inpaint", "colour", "noise"]] = Field(
        ["mean_colour", "inpaint", "colour", "noise"], min_length=1, description="fills of SFE's strokes, a+b"
    )
    blend_folder: str | None = Field(None, description="folder of images for a fifth fill; the paper's is ImageNet")
    stroke_margin: int = Field(0, ge=0, le=120, description="strokes keep this far from the border, px of 256")
    corrupted_weight: float = Field(1.0, ge=0, description="alpha: weight of the corrupted images' loss")

    epochs: int = Field(45, ge=1)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: int = Field(1, ge=1, description="epochs between checkpoints")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

    align_corners: bool = Field(False, description="upsampling of the error maps; the paper's code: true")
    smoothing: float = Field(0.0, ge=0, description="sigma of the Gaussian on anomaly maps, px")
    image_smoothing: float = Field(4.0, ge=0, description="sigma of the Gaussian before the image score's maximum, px")

    @field_validator("layers", "corruptions", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """`a+b` on the command line, where a comma separates parameters."""
        return value.split("+") if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        resolve_device(value)
        return value

    @property
    def fills(self) -> list[str]:
        """The corruptions in use: `image` is one of them where there is a folder to blend from."""
        return [*self.corruptions, *(["image"] if self.blend_folder else [])]

    def layers_of(self, category: str) -> list[str] | None:
        """The layers to predict for a category; None: the backbone's own choice."""
        return self.layers_by_category.get(category, self.layers)

    @property
    def training(self) -> TrainingSettings:
        """What the training loop needs."""
        return TrainingSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            precision=self.precision,
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
        )

    def fingerprint(self, features: Features, *, examples: int) -> str:
        """Digest of all that decides the estimation network's weights: another one starts the training anew.

        Args:
            features: of the good images, in order.
            examples: how many of these are for training.
        """
        after = {"residuals", "by_position", "align_corners", "smoothing", "image_smoothing"}
        deciding = self.model_dump(exclude={"device", "weights", "checkpoint_every", *after})
        versions = [torch.__version__, version("discrepancy")]
        text = json.dumps([deciding, features.fingerprint, examples, versions], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
