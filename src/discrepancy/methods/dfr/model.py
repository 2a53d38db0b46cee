"""DFR, Deep Feature Reconstruction (Yang, Shi, Qi, 2020; Neurocomputing).

An autoencoder learns to reconstruct the multi-scale regional features that a frozen network gives for good images;
where it cannot, the image is anomalous. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import Features
from discrepancy.features.vgg import fed_to_convolution
from discrepancy.methods.base import Card, Detector, clamped_std
from discrepancy.methods.card import CardForm
from discrepancy.methods.dfr.autoencoder import Autoencoder
from discrepancy.methods.dfr.latent import LatentDimension, latent_dimension
from discrepancy.methods.dfr.parameters import LARGEST_LATENT, DFRParameters
from discrepancy.methods.dfr.regions import Regions
from discrepancy.methods.residual_scaler import ResidualScaler
from discrepancy.training.feature_task import FeatureTask
from discrepancy.training.loop import Batch, resolve_device


class DFRCardForm(CardForm):
    """What DFR's card says besides: the width of the bottleneck."""

    latent_dim: int = Field(ge=1, le=LARGEST_LATENT)


class DFR(Detector):
    """The detector: frozen network, regional features, trained autoencoder.

    Buffers per group of layers: mean and deviation of each channel on good images (0 and 1 if not standardised).

    Example:
        >>> detector = load_detector(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    method = "dfr"
    parameters_type = DFRParameters
    card_form = DFRCardForm
    parameters_used: DFRParameters

    def __init__(self, backbone: Backbone, parameters: DFRParameters, card: Card) -> None:
        super().__init__(backbone, parameters, card)
        self.regions = build_regions(backbone, parameters, self.image_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(parameters.seed)
            self.autoencoder = Autoencoder(self.regions.channels, card["latent_dim"], batch_norm=parameters.batch_norm)
        for index, group in enumerate(self.regions.groups):
            self.register_buffer(f"mean_{index}", torch.zeros(group.channels))
            self.register_buffer(f"deviation_{index}", torch.ones(group.channels))
        self.weighing = ResidualScaler(
            [self.regions.channels],
            self.image_size,
            kind=parameters.residuals,
            by_position=parameters.by_position,
            align_corners=parameters.align_corners,
        )

    @property
    def feature_names(self) -> list[str]:
        """Of what the cache holds, in the order of the buffers."""
        return [group.name for group in self.regions.groups]

    def standardised(self, kept: Mapping[str, Tensor]) -> list[Tensor]:
        """Features by group as the autoencoder sees them, float32 [N, h, w, C]; still on their own grids.

        The rows of the alignment sum to 1, so that standardising before it is standardising after it.

        Args:
            kept: what `Regions.reduced` gave, or the cache, [N, C, h, w] by group.
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
        """Mean squared error of the reconstruction, a scalar; arguments as of `standardised`."""
        return self.autoencoder.loss(self.standardised(kept), self.regions)

    def errors(self, images: Tensor) -> Tensor:
        """Mean squared residual of each region, upsampled (`ResidualScaler`): [N, 3, H, W] -> [N, H, W]."""
        return self.weighing([self._residuals(self.regions.reduced(self.backbone(images)))])

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
        self.eval()
        self.weighing.fit(lambda: ([self._residuals(kept)] for kept in features.batches(rows, device)))


def build_regions(backbone: Backbone, parameters: DFRParameters, image_size: tuple[int, int]) -> Regions:
    """The regional features that the parameters ask for.

    Raises:
        InputError: `padded_maps` with a backbone that is not VGG19 padded by reflection, or regions so large that the
            image has hardly any.
    """
    if parameters.padded_maps and (backbone.name != "vgg19" or parameters.padding != "reflect"):
        raise InputError(
            "padded_maps: true is a quirk of vgg19 with padding=reflect, but backbone is "
            f"{backbone.name} and padding {parameters.padding}; expected false"
        )
    regions = Regions(
        backbone.map_shapes(*image_size),
        image_size,
        region=parameters.region,
        alignment=parameters.alignment,
        padded=fed_to_convolution() if parameters.padded_maps else (),
    )
    if min(regions.grid) < 2:
        height, width = image_size
        raise InputError(
            f"region: {parameters.region} px given; expected at most {min(image_size) * 2 // 3}, so that images of "
            f"{height}x{width} px have two regions along each side"
        )
    return regions


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

    device = resolve_device(parameters.device)
    regions.to(device)
    statistics = features.channel_statistics()
    deviation = torch.cat([clamped_std(statistics[group.name][1]) for group in regions.groups]).to(device)

    def batches() -> Iterator[Tensor]:
        for row in rows:
            kept = {name: values.to(device).float() for name, values in features.tensors([row]).items()}
            vectors = regions.joined(kept).flatten(0, 2)
            yield vectors / deviation if parameters.standardise else vectors

    return latent_dimension(batches(), explained=parameters.explained_variance)


class DFRTask(FeatureTask):
    """What the training loop is told: regional features of good images, to be reconstructed by the autoencoder."""

    detector: DFR

    def loss(self, batch: Batch) -> Tensor:
        """Mean over images, positions and channels of the squared residual."""
        return self.detector.loss(batch)


def describe(latent: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says besides the parameters, of a latent dimension as JSON values."""
    found = {name: latent[name] for name in ("explained", "channels", "vectors")}
    return {"latent_dim": latent["dimension"], "latent_chosen_from": found}
