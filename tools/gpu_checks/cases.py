"""One method on synthetic images, ready to train and to score on a device. All that knows the methods' classes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import LazyFeatures, lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.gradient import GradientMethod
from discrepancy.methods.parameters import GradientParameters
from discrepancy.methods.registry import METHODS
from discrepancy.training.checkpoint import Checkpoint
from discrepancy.training.loop import Epoch, fit
from discrepancy.training.settings import TrainingSettings
from discrepancy.training.task import TrainingTask


@dataclass
class Case:
    """A detector, what it is trained on, and where.

    Attributes:
        detector: on the device.
        task: gives batches and their loss.
        data: the images, and their features from the cache.
        device: where it is.
        extraction_seconds: what computing and storing the features took; next to nothing if they were cached.
        start: the trained part's tensors as they were when the case was built.
    """

    detector: GradientMethod
    task: TrainingTask
    data: TrainingData
    device: torch.device
    extraction_seconds: float
    start: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.start = {name: value.clone() for name, value in self.module.state_dict().items()}

    def restart(self) -> None:
        """Forget all training."""
        self.module.load_state_dict(self.start)

    def change(self, **parameters: Any) -> None:
        """Give the detector other values of some parameters, such as `precision`."""
        self.detector.parameters_used = self.parameters.model_copy(update=parameters)

    @property
    def method(self) -> str:
        """`dfc`, `dfr` or `fod`."""
        return self.detector.name

    @property
    def module(self) -> nn.Module:
        """The network that is trained."""
        return self.detector.trained_network

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 [N, 3, H, W]."""
        return self.data.images

    @property
    def parameters(self) -> GradientParameters:
        """The method's parameters."""
        return self.detector.parameters_used

    def optimiser(self) -> torch.optim.Optimizer:
        """The optimiser that a run uses."""
        return self.detector.optimiser() or torch.optim.Adam(
            [parameter for parameter in self.module.parameters() if parameter.requires_grad],
            lr=self.parameters.learning_rate,
            weight_decay=self.parameters.weight_decay,
            fused=self.device.type == "cuda",
        )

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, on the device; the same on every device."""
        size = self.parameters.batch_size
        rows = (np.arange(size, dtype=np.int64) + step * size) % len(self.images)
        return {name: values.to(self.device) for name, values in self.task.batch(step, rows).items()}

    def fit(self, settings: TrainingSettings, checkpoint: Path | None = None) -> list[Epoch]:
        """Train as a run does, by the one training loop."""
        return fit(
            self.module,
            self.task,
            settings,
            device=self.device,
            checkpoint=Checkpoint(checkpoint, "gpu_check") if checkpoint else None,
            optimiser=self.detector.optimiser(),
            progress=False,
        )


def smooth_images(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Coarse noise enlarged, with some fine noise, uint8 [count, 3, size, size]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (count, 3, size // 8 + 1, size // 8 + 1)).repeat(8, 2).repeat(8, 3)
    fine = rng.normal(0, 6, (count, 3, size, size))
    return np.clip(coarse[:, :, :size, :size] + fine, 0, 255).astype(np.uint8)


@cache
def weights_at_hand() -> str:
    """`auto` where the embedded backbone's weights are installed, else `random`."""
    try:
        build_backbone("tf_efficientnet_lite0")
    except InputError:
        return "random"
    return "auto"


def build_case(
    method: str,
    parameters: GradientParameters,
    images: NDArray[np.uint8],
    *,
    folder: Path,
    device: torch.device,
) -> Case:
    """A freshly initialised detector and its task.

    Args:
        method: `dfc`, `dfr` or `fod`.
        parameters: the method's.
        images: uint8 [N, 3, H, W], all of them good.
        folder: of the feature cache; features found there are used, whichever device made them.
        device: where features are computed and the detector goes.
    """
    kind = METHODS[method]
    assert issubclass(kind, GradientMethod)
    backbone = build_backbone(parameters.backbone, layers=parameters.layers_of("cable"), **parameters.backbone_options)
    size = (images.shape[2], images.shape[3])
    began = time.perf_counter()
    planned = planned_features(kind, backbone, parameters, images, device)
    features = FeatureCache(folder).get(planned, progress=False)
    seconds = time.perf_counter() - began
    data = TrainingData(images, features, len(images))
    prepared = {step.name: step.compute(backbone, data, parameters) for step in kind.preparations}
    for name, value in prepared.items():
        if isinstance(value, LazyFeatures):
            prepared[name] = FeatureCache(folder).get(value, progress=False)
    more = kind.card_entries(parameters, prepared)
    card = new_card(kind, parameters, backbone, image_size=size, data_digest="", **more)
    detector = kind(backbone, parameters, card)
    data = replace(data, prepared=prepared)
    detector.set_up(data)
    detector.to(device)
    return Case(detector, detector.training_task(data), data, device, seconds)


def planned_features(
    kind: type[GradientMethod],
    backbone: Backbone,
    parameters: GradientParameters,
    images: NDArray[np.uint8],
    device: torch.device,
) -> LazyFeatures:
    """Return what the cache keeps of the images, not computed yet."""
    reduction = kind.reduction(backbone, parameters, (images.shape[2], images.shape[3]))
    digests = [str(index) for index in range(len(images))]
    return lazy_features(backbone, images, digests, reduction=reduction, device=device)


def extraction_of(case: Case) -> LazyFeatures:
    """The computation of a case's features, to be timed without storing them."""
    return planned_features(type(case.detector), case.detector.backbone, case.parameters, case.images, case.device)
