"""DFC, Deep Feature Correspondence (Yang, Shi, Qi, Pattern Recognition 2022).

A network is trained to predict, from the image, the features that a frozen pretrained network gives for good images;
where prediction and feature differ, the image is anomalous. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import Features
from discrepancy.methods.base import Card, Detector
from discrepancy.methods.dfc.corruption import KINDS, Corruption, ImageSource, Strokes
from discrepancy.methods.dfc.estimators import CompactEstimator, VGG19Estimator
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.residual_scaler import ResidualScaler
from discrepancy.training.loop import VALIDATION_IMAGES, Batch

SMALLEST = 72
"""Shorter side of the images, px: at stride 8, MCRL's reflection by 8 px needs maps of 9."""


class DFC(Detector):
    """The detector: frozen extraction network, trained estimation network.

    Buffers per layer: mean and deviation of each channel on good images (0 and 1 if not standardised).

    Example:
        >>> detector = load_detector(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    method = "dfc"
    parameters_type = DFCParameters
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
            by_position=parameters.by_position,
            align_corners=parameters.align_corners,
        )

    @property
    def feature_names(self) -> list[str]:
        """Of what the cache holds, in the order of the buffers."""
        return self.layers

    def standardised(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """The targets of the estimation network, in the order of the layers.

        Args:
            features: maps of the frozen network by layer, [N, C, h, w].
        """
        return [
            (features[layer].float() - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"deviation_{index}")
            for index, layer in enumerate(self.layers)
        ]

    def predicted(self, images: Tensor) -> list[Tensor]:
        """Standardised features predicted from uint8 images [N, 3, H, W], one map [N, C, h, w] per layer."""
        scaled = (images.float() / 255).contiguous(memory_format=torch.channels_last)
        maps = self.estimator(scaled)
        return [maps[layer] for layer in self.layers]

    def errors(self, images: Tensor) -> Tensor:
        """The errors of the layers' residuals, upsampled and summed (`ResidualScaler`): [N, 3, H, W] -> [N, H, W]."""
        return self.weighing(self._residuals(self.backbone(images), images))

    def _residuals(self, features: Mapping[str, Tensor], images: Tensor) -> list[Tensor]:
        """Standardised features minus prediction, one map [N, C, h, w] per layer."""
        pairs = zip(self.standardised(features), self.predicted(images), strict=True)
        return [target - prediction.float() for target, prediction in pairs]

    @torch.inference_mode()
    def fit_weighing(self, images: NDArray[np.uint8], features: Features, rows: Sequence[int]) -> None:
        """Learn from good images, after training, which residuals are usual.

        Args:
            images: uint8 [N, 3, H, W]; row i belongs to row i of the features.
            features: cached maps of the frozen network.
            rows: the images to look at.
        """
        device = self.get_buffer("mean_0").device

        def batches() -> Iterator[list[Tensor]]:
            for start in range(0, len(rows), 16):
                part = list(rows[start : start + 16])
                cached = {layer: tensor.to(device) for layer, tensor in features.tensors(part).items()}
                yield self._residuals(cached, torch.from_numpy(np.array(images[part])).to(device))

        self.eval()
        self.weighing.fit(batches)


def build_estimator(backbone: Backbone, parameters: DFCParameters) -> nn.Module:
    """The estimation network, randomly initialised from PyTorch's global generator.

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


class DFCTask:
    """What the training loop is told: clean and corrupted images, both to give the clean image's features (SFE).

    L = mean over layers of MSE(S(n), T(n)) + alpha * MSE(S(a), T(n)). T(n) comes from the cache, T(a) is never
    needed, and one forward pass serves n and a: exact, as the estimation network has no batch normalisation.

    Args:
        detector: its estimation network is trained.
        images: uint8 [N, 3, H, W]: training images, then validation images; row i of the features belongs to row i.
        features: cached maps of the frozen network, rows as the images.
        examples: number of training images.
        corruption: paints the strokes.
    """

    def __init__(
        self,
        detector: DFC,
        images: NDArray[np.uint8],
        features: Features,
        *,
        examples: int,
        corruption: Corruption,
    ) -> None:
        self.detector = detector
        self.images = images
        self.features = features
        self.examples = examples
        self.corruption = corruption
        self.parameters = detector.parameters_used
        held_out = np.arange(examples, min(len(images), examples + VALIDATION_IMAGES))
        size = self.parameters.batch_size
        # Corrupted once, by an epoch that does not exist, so that the validation losses of all epochs compare.
        parts = [held_out[i : i + size] for i in range(0, len(held_out), size)]
        self.validation = [(part, self._pairs(1 << 32, part)) for part in parts]

    def batch(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        """Clean images over corrupted ones [2n, 3, H, W], and the layers' features [n, C, h, w]."""
        return {"images": self._pairs(epoch, indices), **self.features.tensors(indices)}

    def _pairs(self, epoch: int, indices: NDArray[np.int64]) -> Tensor:
        clean = np.asarray(self.images[indices])
        both = np.empty((2 * len(clean), *clean.shape[1:]), np.uint8)
        both[: len(clean)] = clean
        for row, index in enumerate(indices):
            rng = np.random.default_rng([self.parameters.seed, epoch, int(index)])
            both[len(clean) + row] = self.corruption(clean[row], rng)[0]
        return torch.from_numpy(both)

    def loss(self, batch: Batch) -> Tensor:
        """The loss above, a scalar."""
        targets = self.detector.standardised(batch)
        predictions = self.detector.predicted(batch["images"])
        losses = []
        for target, prediction in zip(targets, predictions, strict=True):
            clean, corrupted = prediction.float().chunk(2)
            alpha = self.parameters.corrupted_weight
            losses.append(F.mse_loss(clean, target) + alpha * F.mse_loss(corrupted, target))
        return torch.stack(losses).mean()

    def validation_loss(self) -> float | None:
        """The same loss on held-out good images, with corruptions that stay the same."""
        if not self.validation:
            return None
        device = self.detector.get_buffer("mean_0").device
        total, images = 0.0, 0
        for part, pairs in self.validation:
            batch = {"images": pairs, **self.features.tensors(part)}
            total += len(part) * float(self.loss({key: tensor.to(device) for key, tensor in batch.items()}))
            images += len(part)
        return total / images


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


def build_corruption(parameters: DFCParameters, blend: ImageSource | None) -> Corruption:
    """The corruptions that the parameters ask for; `blend` serves the kind `image`."""
    kinds = [kind for kind in KINDS if kind in parameters.fills]
    margin = parameters.stroke_margin
    return Corruption(kinds, strokes=Strokes(margin=margin, start=min(20, margin)), images=blend)


def describe(parameters: DFCParameters) -> dict[str, Any]:
    """What the card says of the training besides the parameters."""
    note = f"with images of {parameters.blend_folder}" if parameters.blend_folder else "without blended images (fill 4)"
    return {"corruptions": {"used": parameters.fills, "note": note}}
