"""Parameters that methods have in common: the frozen network and the anomaly maps of all, the training of some."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from discrepancy.devices import DeviceName, Precision, check_processes
from discrepancy.methods.card import LARGEST_SIGMA
from discrepancy.parameters import Parameters
from discrepancy.training.settings import TrainingSettings

if TYPE_CHECKING:
    from discrepancy.features.cache import Features


BY_CONTENT = "errors are divided by this power of the usual error of patches with similar predictions; 0: not at all"
POSITION_SHIFT = "the usual error at each position is that of copies of good images, shifted by up to so many px"
PEAK_SHARE = "the image score is the mean of this share of the highest values; 0: the maximum"
EPOCHS_BETWEEN = "epochs between checkpoints; more where these take over a twentieth of the time"
STEPS = "gradient steps at most where no epochs are given; at least one epoch"


class MethodParameters(Parameters):
    """Base of every method's parameters. Defaults suit the embedded backbone on two CPU cores."""

    RUNTIME_FIELDS = frozenset({"device", "weights"})

    DEFAULT_LAYERS: ClassVar[Mapping[str, list[str]]] = {}
    """The method's default layers, by backbone; the backbone's own choice for others."""

    backbone: str = Field("tf_efficientnet_lite0", description="frozen network")
    weights: str = Field("auto", description="auto, a published name, or the path of a weights file")
    pooling: Literal["max", "avg"] = Field("max", description="pooling of a vgg19 backbone")
    padding: Literal["reflect", "zeros"] = Field("reflect", description="values beyond the border")
    layers: list[str] | None = Field(None, min_length=1, description="layers to use, a+b; default: the method's")
    cache_dtype: Literal["float32", "float16"] = Field("float32", description="type of the cached features")

    seed: int = Field(0, ge=0, lt=2**63)
    device: DeviceName = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Precision = Field(
        "fp32", description="of products on a GPU: fp32, tf32, or bf16, which is tf32 and mixed precision in training"
    )

    deterministic: bool = Field(False, description="repeated training gives identical weights on a GPU too")

    align_corners: bool = Field(False, description="upsampling of the error maps; the authors' programs: true")
    smoothing: float = Field(0.0, ge=0, le=LARGEST_SIGMA, description="sigma of the Gaussian on anomaly maps, px")
    image_smoothing: float = Field(
        4.0, ge=0, le=LARGEST_SIGMA, description="sigma of the Gaussian before the image score's peak, px"
    )
    peak_share: float = Field(0.0, ge=0, le=1, description=PEAK_SHARE)

    @field_validator("layers", mode="before")
    @classmethod
    def _split_layers(cls, value: Any) -> Any:
        return split_names(value)

    def layers_of(self, category: str) -> list[str] | None:
        """Return the layers to use for a category; None: the backbone's own choice."""
        del category
        return self.layers or self.DEFAULT_LAYERS.get(self.backbone)

    def lighter(self, name: str) -> list[str]:
        """Return changes that lower the memory that the method `name` needs for training, as text for messages."""
        smaller_cache = [f"{name}.cache_dtype=float16"] if self.cache_dtype != "float16" else []
        return ["a smaller image_size", *smaller_cache, f"{name}.device=cpu"]

    @property
    def backbone_options(self) -> Mapping[str, str]:
        """Arguments of `build_backbone` besides name and layers."""
        return {"weights": self.weights, "pooling": self.pooling, "padding": self.padding}


class GradientParameters(MethodParameters):
    """Base of the parameters of methods that are trained by gradient descent on a residual of features."""

    SCORING_FIELDS: ClassVar[frozenset[str]] = frozenset(
        {
            "residuals",
            "by_content",
            "by_position",
            "position_shift",
            "align_corners",
            "smoothing",
            "image_smoothing",
            "peak_share",
        }
    )
    """The trained weights do not depend on these."""

    RUNTIME_FIELDS = MethodParameters.RUNTIME_FIELDS | {"processes", "checkpoint_every"}
    """A checkpoint may be resumed with other values of these."""

    MOST_EPOCHS: ClassVar[int] = 45
    """Epochs where none are given, if `steps` allows so many."""

    standardise: bool = Field(True, description="features of mean 0 and deviation 1 per channel")
    residuals: Literal["raw", "diagonal", "whitened"] = Field(
        "whitened", description="residuals as they are, or scaled by their deviation or covariance on good images"
    )
    by_content: float = Field(0.0, ge=0, le=1, description=BY_CONTENT)
    by_position: bool = Field(True, description="divide maps by what is usual at each position of good images")
    position_shift: int = Field(6, ge=0, le=32, description=POSITION_SHIFT)

    peak_share: float = Field(0.01, ge=0, le=1, description=PEAK_SHARE)

    epochs: int | None = Field(None, ge=1, description="null: the method's usual number, as far as `steps` allows")
    steps: int = Field(900, ge=1, description=STEPS)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    checkpoint_every: int = Field(1, ge=1, description=EPOCHS_BETWEEN)
    processes: int = Field(1, ge=1, description="that share one training; on GPUs one for each")

    @model_validator(mode="after")
    def _processes(self) -> Self:
        check_processes(self.processes, self.device)
        return self

    def lighter(self, name: str) -> list[str]:
        """Return changes that lower the memory that the method `name` needs for training, as text for messages."""
        smaller_batch = [f"a smaller {name}.batch_size"] if self.batch_size > 1 else []
        mixed = [f"{name}.precision=bf16"] if self.precision != "bf16" else []
        return [*smaller_batch, *mixed, *super().lighter(name)]

    def epochs_of(self, examples: int) -> int:
        """Return the number of epochs over so many training images.

        Where none are given, the time of a training has a bound that does not grow with the number of images.
        """
        if self.epochs is not None:
            return self.epochs
        steps_per_epoch = math.ceil(examples / self.batch_size)
        return max(1, min(self.MOST_EPOCHS, self.steps // steps_per_epoch))

    def training(self, examples: int) -> TrainingSettings:
        """Return the settings of the training loop for so many training images."""
        return TrainingSettings(
            epochs=self.epochs_of(examples),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            precision=self.precision,
            deterministic=self.deterministic,
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
        )

    def fingerprint(self, features: Features, *, examples: int, **more: Any) -> str:
        """Return the digest of all that decides the trained weights: another one starts the training anew.

        Args:
            features: of the good images, in order.
            examples: number of training images among them.
            more: further values that decide the weights, JSON values.
        """
        deciding = self.model_dump(exclude={*self.RUNTIME_FIELDS, *self.SCORING_FIELDS})
        versions = [torch.__version__, version("discrepancy")]
        text = json.dumps([deciding, features.fingerprint, examples, versions, more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def split_names(value: Any) -> Any:
    """Turn `a+b` into a list: on the command line a comma separates parameters."""
    return value.split("+") if isinstance(value, str) else value
