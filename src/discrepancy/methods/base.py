"""What all detectors share: images in, anomaly maps out, saved as the trained part and a card that says what it is."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from discrepancy.atomic import replacing
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.weights import tensor_faults
from discrepancy.json_files import read_object
from discrepancy.methods.card import FORMAT, CardForm, check_form
from discrepancy.methods.input_images import input_images
from discrepancy.methods.parameters import MethodParameters
from discrepancy.methods.smoothing import gaussian_blur

CARD = "card.json"
WEIGHTS = "weights.safetensors"

Card = dict[str, Any]


class Detector(nn.Module):
    """A trained method: `forward(images) -> maps`, higher = more anomalous. Methods say how by `errors`.

    Attributes:
        backbone: the frozen pretrained network; not saved, named on the card by its digest.
        parameters_used: the method's.
        card: JSON values: method, parameters, backbone, image size, image score, thresholds, data digest, versions.
    """

    method: ClassVar[str]
    parameters_type: ClassVar[type[MethodParameters]]
    card_form: ClassVar[type[CardForm]] = CardForm

    def __init__(self, backbone: Backbone, parameters: MethodParameters, card: Card) -> None:
        super().__init__()
        self.backbone = backbone
        self.parameters_used = parameters
        self.card = card

    @classmethod
    def from_card(cls, card: Card, backbone: Backbone) -> Self:
        """A detector of this card's shape; its weights are still to be loaded.

        Device and processes on the card say how it was trained, which is nothing to the machine that uses it.
        """
        parameters = {**card["parameters"], "device": "auto", "processes": 1}
        return cls(backbone, cls.parameters_type.model_validate(parameters), card)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images it was trained on, px."""
        height, width = self.card["image_size"]
        return height, width

    def forward(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Anomaly maps of images, smoothed if the parameters say so.

        Args:
            images: uint8 [N, 3, H, W], RGB, N > 0, of the size it was trained on.

        Returns:
            float32 maps [N, H, W], 0 or larger, unbounded.

        Raises:
            InputError: images of another size, type or order of axes, or none.
        """
        images = input_images(images, self.image_size, device=self.backbone.scale.device)
        return gaussian_blur(self.errors(images), self.parameters_used.smoothing)

    @property
    def feature_names(self) -> list[str]:
        """Of what the method standardises, in the order of its buffers `mean_0`, `deviation_0`, `mean_1`, ..."""
        raise TypeError(f"{type(self).__name__} does not say what its features are")

    def set_statistics(self, statistics: Mapping[str, tuple[NDArray, NDArray]]) -> None:
        """Standardise features by mean [C] and deviation [C] of each channel on good images, by name."""
        for index, name in enumerate(self.feature_names):
            mean, deviation = statistics[name]
            for kind, values in (("mean", torch.from_numpy(mean)), ("deviation", clamped_std(deviation))):
                buffer = self.get_buffer(f"{kind}_{index}")
                buffer.copy_(values.view_as(buffer))

    def errors(self, images: Tensor) -> Tensor:
        """The method's own maps [N, H, W] of images uint8 [N, 3, H, W]."""
        raise TypeError(f"{type(self).__name__} does not say how it sees errors")

    def image_scores(self, maps: Tensor) -> Tensor:
        """Image-level scores [N] of anomaly maps [N, H, W], by the rule on the card."""
        return image_scores(maps, self.card)

    def trained_tensors(self) -> dict[str, Tensor]:
        """What was learnt: every tensor of the state dict outside the backbone, where and as it is."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("backbone.")}

    def trained_state(self) -> dict[str, Tensor]:
        """What was learnt, on the CPU, to be saved."""
        return {key: value.cpu().contiguous() for key, value in self.trained_tensors().items()}


def clamped_std(deviation: NDArray) -> Tensor:
    """Deviations [C] to divide by, float32: at least a tenth of their mean.

    A channel that hardly stirs on good images would rule every map as soon as it does.
    """
    values = torch.as_tensor(deviation, dtype=torch.float32)
    return values.clamp_min(max(0.1 * float(values.mean()), 1e-6))


def new_card(
    method: str,
    parameters: Mapping[str, Any],
    backbone: Backbone,
    *,
    image_size: tuple[int, int],
    sigma: float,
    data_digest: str,
    **more: Any,
) -> Card:
    """The card of a freshly trained detector: thresholds are still empty.

    Args:
        method: `dfc`, `dfr` or `fod`.
        parameters: the method's parameters, JSON values.
        backbone: the frozen network.
        image_size: height and width, px.
        sigma: the image score is the maximum of the map smoothed by a Gaussian of this standard deviation, px; 0: raw.
        data_digest: digest of the sample table.
        more: further entries, JSON values.
    """
    smoothed = f", smoothed by a Gaussian of sigma {sigma:g} px" if sigma else ""
    return {
        "method": method,
        "parameters": dict(parameters),
        "backbone": {**backbone.identity, "source": backbone.weights_source},
        "image_size": list(image_size),
        "image_score": {"rule": f"maximum of the anomaly map{smoothed}", "sigma": sigma},
        "thresholds": None,
        "data_digest": data_digest,
        "versions": {name: version(name) for name in ("discrepancy", "torch", "torchvision", "timm")},
        **more,
    }


def image_scores(maps: Tensor, card: Card) -> Tensor:
    """Image-level scores: the maximum of the anomaly map, Gaussian-smoothed first if the card says so.

    Args:
        maps: anomaly maps [N, H, W].
        card: the detector's.

    Returns:
        Scores [N], higher = more anomalous.
    """
    return gaussian_blur(maps, card["image_score"]["sigma"]).flatten(1).amax(1)


def anomaly_maps(
    detector: Detector, images: NDArray[np.uint8], *, device: torch.device, batch_size: int = 16
) -> Iterator[NDArray[np.float32]]:
    """Anomaly maps of many images, in pieces.

    Args:
        detector: moved to the device.
        images: uint8 [N, 3, H, W], memory-mapped or not.
        device: where to compute.
        batch_size: images per piece.

    Yields:
        float32 maps [n, H, W], in the order of the images.
    """
    detector.to(device).eval()
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(device)
        with torch.inference_mode():
            yield detector(batch).float().cpu().numpy()


def save_detector(detector: Detector, folder: Path) -> None:
    """Write weights and card to a new folder, complete or not at all. The card there has the digest of the weights."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        save_file(detector.trained_state(), temporary / WEIGHTS)
        digest = hashlib.sha256((temporary / WEIGHTS).read_bytes()).hexdigest()
        card = {"format": FORMAT, **detector.card, "files": {WEIGHTS: digest}}
        (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load_detector(folder: Path | str, *, weights: str | None = None) -> Detector:
    """Read a detector back, on the CPU, ready to score. Nothing that lies in the folder is executed.

    Args:
        folder: what `save_detector` wrote.
        weights: where the backbone's weights are, if not where they were at training.

    Raises:
        InputError: a file is missing or damaged, or the backbone has other weights than at training.
    """
    folder = Path(folder)
    card, kind, digest = _read_card(folder / CARD)
    state = _read_state(folder / WEIGHTS, digest)
    made = card["backbone"]
    options = {key: made[key] for key in ("pooling", "padding") if key in made}
    try:
        source = weights or str(card["parameters"].get("weights", "auto"))
        backbone = build_backbone(made["backbone"], layers=made["layers"], weights=source, **options)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    if backbone.digest != made["weights"]:
        raise InputError(
            f"{folder}: trained on a {made['backbone']} with weights {made['weights'][:12]} "
            f"({made.get('source', 'unnamed')}), but {backbone.weights_source} holds {backbone.digest[:12]}; name the "
            "right file with weights=/path"
        )
    try:
        with torch.device("meta"):  # neither memory nor time for sizes that the weights do not have
            wanted = kind.from_card(card, backbone).trained_tensors()
        if faults := tensor_faults(state, wanted):
            raise InputError(f"the tensors of {WEIGHTS} are not those that it was saved with, as expected: {faults}")
        detector = kind.from_card(card, backbone)
    except InputError as error:
        raise InputError(f"{folder / CARD}: {error}") from error
    detector.load_state_dict(state, strict=False)
    return detector.requires_grad_(False).eval()


def _read_card(path: Path) -> tuple[Card, type[Detector], str | None]:
    """A card as it was before it was saved, its method, and the digest of the weights if it has one."""
    from discrepancy.methods import METHODS

    card = read_object(path)
    try:
        check_form(card, CardForm)
        if card["method"] not in METHODS:
            raise InputError(f"method: expected one of {', '.join(METHODS)}, found {card['method'][:80]!r}")
        kind = METHODS[card["method"]]
        check_form(card, kind.card_form)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    digest = card.pop("files", {}).get(WEIGHTS)
    card.pop("format", None)
    return card, kind, digest


def _read_state(path: Path, digest: str | None) -> dict[str, Tensor]:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise OSError("no plain file")
        data = path.read_bytes()
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:  # older cards have none
            raise InputError(f"{path}: damaged, or of another detector; expected the file of sha256 {digest[:12]}...")
        return load(data)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); expected the weights that belong to {CARD}") from error


class ScoringClock:
    """Adds up the seconds in which anomaly maps are computed, apart from those in which they are stored."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.images = 0

    def watch(self, pieces: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Pass the pieces [n, H, W] through, timing how long each takes to come."""
        while True:
            began = time.perf_counter()
            piece = next(pieces, None)
            if piece is None:
                return
            self.seconds += time.perf_counter() - began
            self.images += len(piece)
            yield piece

    @property
    def images_per_second(self) -> float:
        """Throughput; NaN before the first image."""
        return self.images / self.seconds if self.seconds else float("nan")
