"""DFC, Deep Feature Correspondence (Yang, Shi, Qi, Pattern Recognition 2022).

A network is trained to predict, from the image, the features that a frozen pretrained network gives for good images;
where prediction and feature differ, the image is anomalous. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from discrepancy.device_memory import images_at_once
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.methods.base import TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.dfc.estimators import CompactEstimator, VGG19Estimator
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.dfc.training import DFCTask, build_corruption
from discrepancy.methods.gradient import GradientMethod
from discrepancy.methods.residual_scaler import Compared, ResidualScaler

SMALLEST = 72
"""Shorter side of the images, px: at stride 8, MCRL's reflection by 8 px needs maps of 9."""


class DFC(GradientMethod):
    """DFC: a network trained to predict the frozen network's features from the image.

    Buffers per layer: mean and deviation of each channel on good images (0 and 1 if not standardised).

    Example:
        >>> detector = load_method(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    name = "dfc"
    title = "DFC"
    Parameters = DFCParameters
    parameters_used: DFCParameters

    def __init__(self, backbone: Backbone, parameters: DFCParameters, card: Card) -> None:
        super().__init__(backbone, parameters, card)
        check_estimator(backbone, parameters, self.image_size)
        self.layers = [layer.name for layer in backbone.layers]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(parameters.seed)
            self.estimator = build_estimator(backbone, parameters)
        self.estimator.to(memory_format=torch.channels_last)
        for index, layer in enumerate(backbone.layers):
            self.register_buffer(f"mean_{index}", torch.zeros(1, layer.channels, 1, 1))
            self.register_buffer(f"deviation_{index}", torch.ones(1, layer.channels, 1, 1))
        self.weighing = ResidualScaler(
            [layer.channels for layer in backbone.layers],
            self.image_size,
            kind=parameters.residuals,
            by_content=parameters.by_content,
            by_position=parameters.by_position,
            align_corners=parameters.align_corners,
        )

    @classmethod
    def reduction(cls, backbone: Backbone, parameters: DFCParameters, image_size: tuple[int, int]) -> None:
        """Keep the layers' maps as they are; refuse maps that the estimation network cannot predict."""
        check_estimator(backbone, parameters, image_size)

    @classmethod
    def card_entries(cls, parameters: DFCParameters, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the corruptions in use."""
        del prepared
        folder = parameters.blend_folder
        note = f"with images of {folder}" if folder else "without blended images (fill 4)"
        return {"corruptions": {"used": parameters.fills, "note": note}}

    @property
    def feature_names(self) -> list[str]:
        """Names of the cached features, in the order of the buffers."""
        return self.layers

    @property
    def trained_network(self) -> nn.Module:
        """The estimation network."""
        return self.estimator

    def training_task(self, data: TrainingData) -> DFCTask:
        """Return clean and corrupted images with the clean images' features."""
        return DFCTask(self, data, build_corruption(self.parameters_used, self.image_size))

    def standardised(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the targets of the estimation network, in the order of the layers.

        Args:
            features: maps of the frozen network by layer, [N, C, h, w].
        """
        return [
            (features[layer].float() - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"deviation_{index}")
            for index, layer in enumerate(self.layers)
        ]

    def predicted(self, images: Tensor) -> list[Tensor]:
        """Predict standardised features from uint8 images [N, 3, H, W], one map [N, C, h, w] per layer."""
        scaled = (images.float() / 255).contiguous(memory_format=torch.channels_last)
        maps = self.estimator(scaled)
        return [maps[layer] for layer in self.layers]

    def error_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the errors of the layers' residuals, upsampled and summed (see `ResidualScaler`)."""
        return self.weighing(self._compared(features, images))

    def _compared(self, features: Mapping[str, Tensor], images: Tensor) -> Compared:
        """Return predictions, and standardised features minus these."""
        predictions = [prediction.float() for prediction in self.predicted(images)]
        pairs = zip(self.standardised(features), predictions, strict=True)
        return Compared([target - prediction for target, prediction in pairs], predictions)

    def compared_batches(self, data: TrainingData) -> Iterator[Compared]:
        """Compare the training images' features with what the network predicts, a few images at a time."""
        size = images_at_once(16, *self.image_size)
        for start in range(0, data.examples, size):
            part = list(range(start, min(start + size, data.examples)))
            cached = {layer: tensor.to(self.device) for layer, tensor in data.cached.tensors(part).items()}
            yield self._compared(cached, torch.from_numpy(np.array(data.images[part])).to(self.device))


def build_estimator(backbone: Backbone, parameters: DFCParameters) -> nn.Module:
    """Build the estimation network, randomly initialised from PyTorch's global generator.

    Raises:
        InputError: the paper's network with a backbone that is not VGG19.
    """
    if parameters.estimator == "compact":
        return CompactEstimator(backbone.layers, width=parameters.width, blocks=parameters.blocks)
    if backbone.name != "vgg19":
        raise InputError(
            f"estimator: vgg19 predicts a vgg19 backbone, but backbone is {backbone.name}; expected compact"
        )
    return VGG19Estimator(backbone.layers, blocks=parameters.blocks)


def check_estimator(backbone: Backbone, parameters: DFCParameters, image_size: tuple[int, int]) -> None:
    """Refuse, before any work is done, an estimation network that cannot predict the backbone's maps.

    Raises:
        InputError: layers, network or image size do not go together.
    """
    height, width = image_size
    if min(image_size) < SMALLEST:
        raise InputError(f"image_size: {height}x{width} given; DFC expects at least {SMALLEST} px on each side")
    with torch.device("meta"):
        maps = build_estimator(backbone, parameters)(torch.empty(1, 3, height, width))
    wanted = backbone.map_shapes(height, width)
    for layer, shape in wanted.items():
        if tuple(maps[layer].shape[1:]) != shape:
            raise InputError(
                f"image_size: {height}x{width} given; {backbone.name}'s {layer} is {shape[1]}x{shape[2]} then, but the "
                f"{parameters.estimator} network predicts {maps[layer].shape[2]}x{maps[layer].shape[3]}; expected "
                "multiples of 16"
            )
