"""The interface of every method: it learns from good images, and returns anomaly maps and scores of new ones.

A method is a folder below `methods`, or a package of its own that joins by the entry point group
`discrepancy.methods`. `docs/extending.md` shows how to write one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from discrepancy.devices import actual_precision, computing_in, device_title, resolve_device
from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.reduction import Reduction
from discrepancy.methods.card import Card as BaseCard
from discrepancy.methods.input_images import input_images
from discrepancy.methods.parameters import MethodParameters
from discrepancy.methods.smoothing import gaussian_blur, peak
from discrepancy.training.loop import Epoch

OLDER_VALUES = {"by_content": 0.0, "position_shift": 0, "peak_share": 0.0, "smallest_memory": 1, "candidates": None}
"""Parameters that older cards lack, with the values that mean what was done then."""
RUNTIME_VALUES = {"device": "auto", "processes": 1}
"""Parameters of a detector at work, whatever those of its training were."""


class Scored(NamedTuple):
    """Anomaly maps float32 [N, H, W] and image scores float32 [N] of N images, higher = more anomalous."""

    maps: Tensor
    image_scores: Tensor


@dataclass(frozen=True)
class TrainingData:
    """The good images of a category, with features and preparations computed from them.

    Attributes:
        images: uint8 [N, 3, H, W], RGB: training images, then held-out ones; memory-mapped.
        features: cached features of these images, in the same order; None if the method caches nothing.
        examples: number of training images.
        prepared: results of the method's preparations, by name.
    """

    images: NDArray[np.uint8]
    features: Features | None
    examples: int
    prepared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cached(self) -> Features:
        """The cached features.

        Raises:
            TypeError: the method caches none.
        """
        if self.features is None:
            raise TypeError("no features were cached")
        return self.features


@dataclass(frozen=True)
class Preparation:
    """A result that `fit` needs, computed by a step of its own, kept by the catalog as `<method>.<name>`.

    Attributes:
        name: of the dataset, and in `TrainingData.prepared`.
        step: name of the node.
        compute: gets the frozen network, the data and the method's parameters.
    """

    name: str
    step: str
    compute: Callable[[Backbone, TrainingData, Any], Any]


@dataclass(frozen=True)
class ExtraStep:
    """A further node of the method's pipeline, beside those that every method has.

    Attributes:
        stage: the stage that it belongs to.
        step: name of the node.
        compute: a plain function; Kedro reads the type of its parameters from the annotations.
        inputs: its arguments in order: datasets of the method, `images`, `masks`, `samples`, `params:...`.
        output: name of the dataset.
    """

    stage: Literal["training", "reporting"]
    step: str
    compute: Callable[..., Any]
    inputs: tuple[str, ...]
    output: str


class Method(nn.Module, ABC):
    """A method, untrained or fitted. Fitted, it is a detector: `detector(images)` gives anomaly maps.

    What it learns are parameters and buffers; those outside the backbone are saved. Their shapes follow from the
    backbone, the parameters and the card, so that `__init__` can make room for them before they are loaded.

    Attributes:
        backbone: the frozen pretrained network; not saved, named on the card by its digest.
        parameters_used: the method's parameters.
        card: the detector's description of itself.
    """

    name: ClassVar[str]
    """Name in files, parameters and commands: its key in the registry."""
    title: ClassVar[str]
    """Name as in the paper."""
    Parameters: ClassVar[type[MethodParameters]]
    Card: ClassVar[type[BaseCard]] = BaseCard
    uses_cache: ClassVar[bool] = True
    """True if features of the good images are cached for training."""
    preparations: ClassVar[tuple[Preparation, ...]] = ()

    def __init__(self, backbone: Backbone, parameters: Any, card: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.parameters_used = parameters
        self.card = card

    @classmethod
    def extra_steps(cls) -> tuple[ExtraStep, ...]:
        """Return further nodes of the method's pipeline."""
        return ()

    @classmethod
    def reduction(cls, backbone: Backbone, parameters: Any, image_size: tuple[int, int]) -> Reduction | None:
        """Return the reduction of the layers' maps before caching; None keeps them as they are.

        Called before any work is done, so this is the place to refuse what cannot be trained.

        Raises:
            InputError: backbone, parameters and image size do not go together.
        """
        del backbone, parameters, image_size
        return None

    @classmethod
    def card_entries(cls, parameters: Any, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the card's further entries, JSON values."""
        del parameters, prepared
        return {}

    @classmethod
    def prepare(cls, backbone: Backbone, data: TrainingData, parameters: Any) -> dict[str, Any]:
        """Return the results of all preparations; planned features are computed, into the cache of the others."""
        if not cls.preparations:
            return {}
        cache = FeatureCache(data.cached.path.parent)
        return {step.name: cache.resolved(step.compute(backbone, data, parameters)) for step in cls.preparations}

    @classmethod
    def from_card(cls, card: BaseCard, backbone: Backbone) -> Self:
        """Build a detector of this card's shape; its weights are still to be loaded.

        Device and processes on the card record the training and are ignored at inference.
        """
        fields = cls.Parameters.model_fields
        older = {name: value for name, value in OLDER_VALUES.items() if name in fields}
        runtime = {name: value for name, value in RUNTIME_VALUES.items() if name in fields}
        return cls(backbone, cls.Parameters.model_validate({**older, **card.parameters, **runtime}), card)

    @abstractmethod
    def fit(self, data: TrainingData, checkpoint: Path | None = None) -> list[Epoch] | None:
        """Learn from good images, in place.

        Args:
            data: the good images.
            checkpoint: file in which the state may be kept meanwhile, so that a run that was killed goes on.

        Returns:
            One entry per epoch; None if the method has no epochs.
        """

    @property
    def reusable(self) -> Sequence[str]:
        """Names of the methods whose trained detectors `fit` can make use of; see `offer`."""
        return ()

    def offer(self, trained: Method) -> None:
        """Offer a trained detector of one of the `reusable` methods, of the same part, before `fit`.

        It may have learnt from other data or with other parameters: its card says so.
        """

    @abstractmethod
    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return raw anomaly maps [N, H, W], 0 or larger.

        Args:
            features: maps of the frozen network by layer, [N, C, h, w]; there may be layers that the method does not
                use.
            images: uint8 [N, 3, H, W], on the method's device.
        """

    def image_scores(self, maps: Tensor) -> Tensor:
        """Return image scores [N] of anomaly maps [N, H, W]: the peak of the smoothed map.

        The card says how wide the Gaussian is, and how much of the map the peak is.
        """
        rule = self.card.image_score
        return peak(gaussian_blur(maps, rule.sigma), rule.share)

    def score(self, images: Tensor | NDArray[np.uint8]) -> Scored:
        """Return anomaly maps, smoothed if the parameters say so, and image scores; in the method's precision.

        Args:
            images: uint8 [N, 3, H, W], RGB, N > 0, of the size that the method was trained on.

        Raises:
            InputError: images of another size, type or order of axes, or none.
        """
        with computing_in(self.parameters_used.precision):
            checked = self.checked(images)
            return self.scored(self.backbone(checked), checked)

    def scored(self, features: Mapping[str, Tensor], images: Tensor) -> Scored:
        """Return the result of `score`; to be overridden if image scores do not come from maps.

        Args:
            features: maps of the frozen network by layer, as of `anomaly_maps`.
            images: checked images.
        """
        maps = gaussian_blur(self.anomaly_maps(features, images), self.parameters_used.smoothing)
        return Scored(maps, self.image_scores(maps))

    def forward(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return the anomaly maps of `score`, float32 [N, H, W], 0 or larger, unbounded."""
        with computing_in(self.parameters_used.precision):
            checked = self.checked(images)
            return gaussian_blur(self.anomaly_maps(self.backbone(checked), checked), self.parameters_used.smoothing)

    def checked(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return images as the method takes them, on its device; `score` lists what is refused."""
        return input_images(images, self.image_size, device=self.device)

    @property
    def device(self) -> torch.device:
        """The device on which the method computes."""
        return self.backbone.scale.device

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the training images, px."""
        height, width = self.card.image_size
        return height, width

    def trained_tensors(self) -> dict[str, Tensor]:
        """Return the learnt tensors: the state dict outside the backbone, on their device and of their type."""
        return {key: value for key, value in self.state_dict().items() if "backbone" not in key.split(".")}

    def trained_state(self) -> dict[str, Tensor]:
        """Return the learnt tensors on the CPU, to be saved."""
        return {key: value.cpu().contiguous() for key, value in self.trained_tensors().items()}


def new_card(
    method: type[Method],
    parameters: MethodParameters,
    backbone: Backbone,
    *,
    image_size: tuple[int, int],
    data_digest: str,
    **more: Any,
) -> BaseCard:
    """Return the card of a method that is about to be trained: thresholds are still empty.

    Args:
        method: the method.
        parameters: its parameters.
        backbone: the frozen network.
        image_size: height and width, px.
        data_digest: digest of the sample table.
        more: further entries, JSON values.
    """
    sigma, share = parameters.image_smoothing, parameters.peak_share
    smoothed = f", smoothed by a Gaussian of sigma {sigma:g} px" if sigma else ""
    taken = f"mean of the highest {share:.3g} of the values" if share else "maximum"
    device = resolve_device(parameters.device)
    return method.Card.read(
        {
            "method": method.name,
            "parameters": parameters.model_dump(mode="json"),
            "backbone": {**backbone.identity, "source": backbone.weights_source},
            "image_size": list(image_size),
            "image_score": {"rule": f"{taken} of the anomaly map{smoothed}", "sigma": sigma, "share": share},
            "thresholds": None,
            "data_digest": data_digest,
            "device": device_title(device),
            "precision": actual_precision(parameters.precision, device),
            "versions": {name: version(name) for name in ("discrepancy", "torch", "torchvision", "timm")},
            **more,
        }
    )


def backbone_of(card: BaseCard, *, weights: str | None = None) -> Backbone:
    """Build the frozen network that a card names.

    Args:
        card: the detector's.
        weights: location of the weights; by default that of the training.

    Raises:
        InputError: no such network, or its weights cannot be had.
    """
    made = card.backbone
    source = weights or str(card.parameters.get("weights", "auto"))
    return build_backbone(made.backbone, layers=made.layers, weights=source, **made.options)
