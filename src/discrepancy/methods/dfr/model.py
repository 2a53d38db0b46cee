"""DFR, Deep Feature Reconstruction (Yang, Shi, Qi, 2020; Neurocomputing).

An autoencoder learns to reconstruct the multi-scale regional features that a frozen network gives for good images;
where it cannot, the image is anomalous. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from discrepancy.device_memory import images_at_once
from discrepancy.features.backbones import Backbone
from discrepancy.methods.base import Preparation, TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.dfr.autoencoder import Autoencoder
from discrepancy.methods.dfr.latent_step import check_latent, choose_latent_dim
from discrepancy.methods.dfr.parameters import LARGEST_LATENT, DFRParameters
from discrepancy.methods.dfr.regions import Regions, build_regions
from discrepancy.methods.gradient import GradientMethod
from discrepancy.methods.residual_scaler import Compared, ResidualScaler
from discrepancy.training.feature_task import FeatureTask
from discrepancy.training.task import Batch


class DFRCard(Card):
    """DFR's card, with the width of the bottleneck."""

    latent_dim: int = Field(ge=1, le=LARGEST_LATENT)


class DFR(GradientMethod):
    """DFR: an autoencoder trained to reconstruct regional features of the frozen network.

    Buffers per group of layers: mean and deviation of each channel on good images (0 and 1 if not standardised).

    Example:
        >>> detector = load_method(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    name = "dfr"
    title = "DFR"
    Parameters = DFRParameters
    Card = DFRCard
    preparations = (Preparation("latent", "choose_latent_dim", choose_latent_dim),)
    parameters_used: DFRParameters

    def __init__(self, backbone: Backbone, parameters: DFRParameters, card: DFRCard) -> None:
        super().__init__(backbone, parameters, card)
        self.regions = build_regions(backbone, parameters, self.image_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(parameters.seed)
            self.autoencoder = Autoencoder(self.regions.channels, card.latent_dim, batch_norm=parameters.batch_norm)
        for index, group in enumerate(self.regions.groups):
            self.register_buffer(f"mean_{index}", torch.zeros(group.channels))
            self.register_buffer(f"deviation_{index}", torch.ones(group.channels))
        self.weighing = ResidualScaler(
            [self.regions.channels],
            self.image_size,
            kind=parameters.residuals,
            by_content=parameters.by_content,
            by_position=parameters.by_position,
            align_corners=parameters.align_corners,
        )

    @classmethod
    def reduction(cls, backbone: Backbone, parameters: DFRParameters, image_size: tuple[int, int]) -> Regions:
        """Keep the maps averaged in regions, still on their own grids."""
        return build_regions(backbone, parameters, image_size)

    @classmethod
    def card_entries(cls, parameters: DFRParameters, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the width of the bottleneck and its origin."""
        del parameters
        latent = prepared["latent"]
        found = {name: latent[name] for name in ("explained", "channels", "vectors")}
        return {"latent_dim": latent["dimension"], "latent_chosen_from": found}

    @property
    def feature_names(self) -> list[str]:
        """Names of the cached features, in the order of the buffers."""
        return [group.name for group in self.regions.groups]

    @property
    def trained_network(self) -> nn.Module:
        """The autoencoder."""
        return self.autoencoder

    def set_up(self, data: TrainingData) -> None:
        """Take over the statistics of the features.

        Raises:
            InputError: the latent dimension was chosen from other features or parameters.
        """
        check_latent(data, self.parameters_used)
        super().set_up(data)

    def training_task(self, data: TrainingData) -> DFRTask:
        """Return batches of regional features and the loss of their reconstruction."""
        return DFRTask(self, data)

    def deciding(self, data: TrainingData) -> dict[str, Any]:
        """Return the width of the bottleneck."""
        return {"latent": data.prepared["latent"]["dimension"]}

    def standardised(self, kept: Mapping[str, Tensor]) -> list[Tensor]:
        """Return features by group as the autoencoder takes them, float32 [N, h, w, C]; still on their own grids.

        The rows of the alignment sum to 1, so that standardising before it is standardising after it.

        Args:
            kept: result of `Regions.reduced`, or cached features, [N, C, h, w] by group.
        """
        rows = [kept[group.name].permute(0, 2, 3, 1).float() for group in self.regions.groups]
        if not self.parameters_used.standardise:
            return rows
        result = []
        for index, values in enumerate(rows):
            scale = 1 / self.get_buffer(f"deviation_{index}")
            result.append(torch.addcmul(-self.get_buffer(f"mean_{index}") * scale, values, scale))
        return result

    def loss(self, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the mean squared error of the reconstruction, a scalar; arguments as of `standardised`."""
        return self.autoencoder.loss(self.standardised(kept), self.regions)

    def error_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the mean squared residual of each region, upsampled (see `ResidualScaler`)."""
        del images
        return self.weighing(self._compared(self.regions.reduced(features)))

    def _compared(self, kept: Mapping[str, Tensor]) -> Compared:
        """Return the reconstruction, and standardised features minus it: one map [N, C, h, w], channels last."""
        rows = self.autoencoder.compare(self.standardised(kept), self.regions)
        maps = [part.unflatten(0, (-1, *self.regions.grid)).permute(0, 3, 1, 2) for part in rows]
        return Compared(maps[:1], maps[1:])

    def compared_batches(self, data: TrainingData) -> Iterator[Compared]:
        """Compare the cached features of the training images with their reconstruction."""
        size = images_at_once(16, *self.image_size)
        return map(self._compared, data.cached.batches(range(data.examples), self.device, size=size))


class DFRTask(FeatureTask):
    """Training task of DFR: batches of regional features, and the loss of their reconstruction."""

    def __init__(self, detector: DFR, data: TrainingData, *, resident: bool | None = None) -> None:
        super().__init__(
            data.cached,
            examples=data.examples,
            batch_size=detector.parameters_used.batch_size,
            device=detector.device,
            resident=resident,
        )
        self.detector = detector

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean over images, positions and channels of the squared residual."""
        return self.detector.loss(batch)
