"""DFR, Deep Feature Reconstruction (Yang, Shi, Qi, 2020; Neurocomputing).

An autoencoder learns to reconstruct the multi-scale regional features that a frozen network gives for good images;
where it cannot, the image is anomalous. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import Features
from discrepancy.features.regions import Regions
from discrepancy.features.vgg import fed_to_convolution
from discrepancy.methods.autoencoder import Autoencoder
from discrepancy.methods.detector import Card, Detector
from discrepancy.methods.dfr_parameters import DFRParameters
from discrepancy.methods.latent import LatentDimension, latent_dimension
from discrepancy.methods.residuals import ResidualWeighing
from discrepancy.methods.smoothing import gaussian_blur
from discrepancy.methods.training import Batch

VALIDATION_IMAGES = 64
"""The validation loss looks at no more images than this: it is drawn every epoch."""

RESIDENT_SHARE = 0.6
"""Features stay on the GPU for the whole training if they take no more than this share of its free memory."""


class DFR(Detector):
    """The detector: frozen network, regional features, trained autoencoder.

    Buffers per group of layers: mean and deviation of each channel on good images (0 and 1 if not standardised).

    Example:
        >>> detector = load_detector(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    method = "dfr"

    def __init__(self, backbone: Backbone, parameters: DFRParameters, card: Card) -> None:
        super().__init__(backbone, card)
        self.parameters_used = parameters
        self.smoothing = parameters.smoothing
        self.regions = build_regions(backbone, parameters, self.image_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(parameters.seed)
            self.autoencoder = Autoencoder(
                self.regions.channels, int(card["latent_dim"]), batch_norm=parameters.batch_norm
            )
        for index, group in enumerate(self.regions.groups):
            self.register_buffer(f"mean_{index}", torch.zeros(group.channels))
            self.register_buffer(f"deviation_{index}", torch.ones(group.channels))
        self.weighing = ResidualWeighing(
            [self.regions.channels],
            self.image_size,
            kind=parameters.residuals,
            by_position=parameters.by_position,
            align_corners=parameters.align_corners,
        )

    @classmethod
    def from_card(cls, card: Card, backbone: Backbone) -> DFR:
        """A DFR of this card's shape; its weights are still to be loaded."""
        return cls(backbone, DFRParameters.model_validate(card["parameters"]), card)

    def set_statistics(self, statistics: Mapping[str, tuple[NDArray, NDArray]]) -> None:
        """Standardise features by mean [C] and deviation [C] of each group's channels on good images."""
        for index, group in enumerate(self.regions.groups):
            mean, deviation = (torch.as_tensor(values, dtype=torch.float32) for values in statistics[group.name])
            self.get_buffer(f"mean_{index}").copy_(mean)
            self.get_buffer(f"deviation_{index}").copy_(deviation.clamp_min(1e-6))

    def standardised(self, kept: Mapping[str, Tensor]) -> list[Tensor]:
        """Features by group as the autoencoder sees them, float32 [N, h, w, C]; still on their own grids.

        The rows of the alignment sum to 1, so that standardising before it is standardising after it.

        Args:
            kept: what `Regions.reduced` gave, or the cache, [N, C, h, w] by group.
        """
        rows = [kept[group.name].permute(0, 2, 3, 1).float() for group in self.regions.groups]
        if not self.parameters_used.standardise:
            return rows
        return [
            (values - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"deviation_{index}")
            for index, values in enumerate(rows)
        ]

    def loss(self, kept: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error of the reconstruction, a scalar; arguments as of `standardised`."""
        return self.autoencoder.loss(self.standardised(kept), self.regions)

    def forward(self, images: Tensor) -> Tensor:
        """Anomaly maps of images: mean squared residual of each region, upsampled (`ResidualWeighing`).

        Args:
            images: uint8 [N, 3, H, W], RGB, of the size it was trained on.

        Returns:
            float32 maps [N, H, W], 0 or larger, unbounded.

        Raises:
            InputError: images of another size.
        """
        if tuple(images.shape[-2:]) != self.image_size:
            found, wanted = ("x".join(map(str, size)) for size in (images.shape[-2:], self.image_size))
            raise InputError(f"images of {found} px given; this detector expects {wanted}")
        residuals = self._residuals(self.regions.reduced(self.backbone(images)))
        return gaussian_blur(self.weighing([residuals]), self.smoothing)

    def _residuals(self, kept: Mapping[str, Tensor]) -> Tensor:
        """Reconstruction minus standardised features, [N, C, grid rows, grid columns], channels last."""
        rows = self.autoencoder.residuals(self.standardised(kept), self.regions)
        return rows.unflatten(0, (-1, *self.regions.grid)).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def fit_weighing(self, features: Features, rows: Sequence[int]) -> None:
        """Learn from good images, after training, which residuals are usual.

        Args:
            features: cached features of good images.
            rows: the images to look at.
        """
        device = self.get_buffer("mean_0").device

        def batches() -> Iterator[list[Tensor]]:
            for start in range(0, len(rows), 16):
                part = features.tensors(list(rows[start : start + 16]))
                yield [self._residuals({name: values.to(device) for name, values in part.items()})]

        self.eval()
        self.weighing.fit(batches)


def build_regions(backbone: Backbone, parameters: DFRParameters, image_size: tuple[int, int]) -> Regions:
    """The regional features that the parameters ask for.

    Raises:
        InputError: `padded_maps` with a backbone that is not VGG19.
    """
    if parameters.padded_maps and backbone.name != "vgg19":
        raise InputError(f"padded_maps: true is a quirk of vgg19, but backbone is {backbone.name}; expected false")
    return Regions(
        backbone.map_shapes(*image_size),
        image_size,
        region=parameters.region,
        alignment=parameters.alignment,
        padded=fed_to_convolution() if parameters.padded_maps else (),
    )


def choose_latent_dimension(
    regions: Regions, features: Features, rows: Sequence[int], parameters: DFRParameters
) -> LatentDimension:
    """The width of the bottleneck, from the features that the autoencoder will see.

    Args:
        regions: aligns the features.
        features: cached features of good images.
        rows: the images to look at.
        parameters: wished share of the variance, and whether features are standardised.
    """

    def batches() -> Iterator[Tensor]:
        statistics = features.channel_statistics()
        deviations = np.concatenate([statistics[group.name][1] for group in regions.groups])
        scale = 1 / torch.from_numpy(deviations).clamp_min(1e-6) if parameters.standardise else None
        for row in rows:
            vectors = regions.joined(features.tensors([row])).flatten(0, 2)
            yield vectors if scale is None else vectors * scale

    return latent_dimension(batches(), explained=parameters.explained_variance)


class DFRProblem:
    """What the training loop is told: regional features of good images, to be reconstructed.

    Args:
        detector: its autoencoder is trained; on the device already.
        features: cached features of good images: training images first, then validation images.
        examples: number of training images.
    """

    def __init__(self, detector: DFR, features: Features, *, examples: int) -> None:
        self.detector = detector
        self.features = features
        self.examples = examples
        self.device = detector.get_buffer("mean_0").device
        self.resident = self._on_device() if self.device.type == "cuda" else None

    def _on_device(self) -> dict[str, Tensor] | None:
        """All features on the GPU, if they fit: an epoch then moves nothing but row numbers."""
        free, _ = torch.cuda.mem_get_info(self.device)
        if sum(array.nbytes for array in self.features.values()) > RESIDENT_SHARE * free:
            return None
        every = self.features.tensors(range(self.features.count))
        return {name: values.permute(0, 2, 3, 1).to(self.device) for name, values in every.items()}

    def batch(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        """Features of each group, [n, C, h, w], channels last."""
        del epoch
        if self.resident is None:
            return self.features.tensors(indices)
        rows = torch.from_numpy(indices).to(self.device)
        return {name: values.index_select(0, rows).permute(0, 3, 1, 2) for name, values in self.resident.items()}

    def loss(self, batch: Batch) -> Tensor:
        """Mean over images, positions and channels of the squared residual."""
        return self.detector.loss(batch)

    def validation_loss(self) -> float | None:
        """The same loss on held-out good images, with the running statistics of batch normalisation."""
        rows = np.arange(self.examples, min(self.features.count, self.examples + VALIDATION_IMAGES))
        if not len(rows):
            return None
        size = self.detector.parameters_used.batch_size
        total = 0.0
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            batch = {name: values.to(self.device) for name, values in self.batch(0, part).items()}
            total += len(part) * float(self.loss(batch))
        return total / len(rows)


def describe(latent: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says besides the parameters, of a latent dimension as JSON values."""
    return {"latent_dim": latent["dimension"], "latent": dict(latent)}
