"""The trained detector as programs use it: it takes photographs of any size, and returns scores, decisions and maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save as safetensors
from torch import Tensor

from discrepancy.data.images import ImageSize, ResizeCrop
from discrepancy.decisions.segmentation import SegmentationRule
from discrepancy.detection.storage import save_method
from discrepancy.devices import resolve_device
from discrepancy.errors import InputError
from discrepancy.methods.base import Method, Scored
from discrepancy.methods.card import Card
from discrepancy.prediction.results import Prediction, Predictions, Unreadable
from discrepancy.prediction.sources import Images, photographs
from discrepancy.prediction.stream import Finished, examine


class Detector:
    """A trained method with its thresholds, on a device.

    Args:
        method: fitted, its card with thresholds.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: location of the frozen network's weights, if not where they were at training.

    Raises:
        InputError: the card has no thresholds.

    Attributes:
        method: the fitted method.
        card: its description: data, parameters, thresholds.
        weights: location of the frozen network's weights, if not where they were at training.
    """

    def __init__(self, method: Method, *, device: str = "auto", weights: str | None = None) -> None:
        _ = method.card.decision
        self._device = resolve_device(device)
        self.method = method.to(self._device).eval()
        self.card: Card = method.card
        self.weights = weights

    def __repr__(self) -> str:
        """Return a line that names method, part and thresholds."""
        height, width = self.image_size
        part = f"{self.card.dataset}/{self.card.category}" if self.card.category else "a part"
        return f"<{self.method.title} for {part}, {height}x{width} px, threshold {self.threshold:.4g}>"

    def to(self, device: str) -> Self:
        """Move the detector to a device."""
        self._device = resolve_device(device)
        self.method.to(self._device)
        return self

    @property
    def threshold(self) -> float:
        """Image threshold: photographs with a higher score are called anomalous."""
        return self.card.decision.image.value

    @property
    def segmentation(self) -> SegmentationRule:
        """Rule of the outlines."""
        return self.card.decision.pixel.segmentation

    @property
    def image_size(self) -> ImageSize:
        """(height, width) of the images that `score` takes, px."""
        return self.method.image_size

    @cached_property
    def resize_crop(self) -> ResizeCrop:
        """Geometry that turns photographs of any size into the network's input, that of the training."""
        whole = self.card.preprocessing.get("resized_to")
        return ResizeCrop((whole[0], whole[1]), self.image_size) if whole else ResizeCrop(self.image_size)

    @cached_property
    def digest(self) -> str:
        """Digest of everything that decides results: what was learnt, thresholds, the frozen network."""
        found = hashlib.sha256(json.dumps(self.card.to_json(), sort_keys=True).encode())
        found.update(safetensors(self.method.trained_state()))
        return found.hexdigest()

    @property
    def bits(self) -> int | None:
        """Number of bits that 16-bit photographs use; None: as each file declares."""
        return self.card.preprocessing.get("bit_depth")

    def score(self, images: Tensor | NDArray[np.uint8]) -> Scored:
        """Return anomaly maps [N, H, W] and image scores [N] of images uint8 [N, 3, H, W] of `image_size`, RGB.

        Raises:
            InputError: images of another size, type or order of axes, or none.
        """
        return self.method.score(images)

    def save(self, folder: Path | str) -> None:
        """Write weights and card to a folder, from which `load_detector` reads them; a detector there is replaced.

        Raises:
            InputError: the folder holds something else.
        """
        save_method(self.method, Path(folder))

    def predict(self, images: Images, *, batch_size: int = 16) -> Predictions:
        """Examine photographs of any size; all results are kept in memory, maps at the detector's size.

        Args:
            images: a file, a folder, a pattern, bytes of an encoded file, a PIL image, or an array uint8 [h, w, 3] or
                [N, h, w, 3], RGB. It may also be an iterable of these.
            batch_size: photographs per forward pass.

        Raises:
            InputError: a photograph cannot be read, or there is none.
        """
        return Predictions(tuple(self.stream(images, batch_size=batch_size)))

    def stream(self, images: Images, *, batch_size: int = 16) -> Iterator[Prediction]:
        """Yield the result of each photograph, in their order; memory does not grow with their number.

        Args:
            images: as of `predict`; an iterable is read ahead by two batches.
            batch_size: photographs per forward pass.

        Raises:
            InputError: a photograph cannot be read, or there is none.
        """
        for result in self.examine(images, _itself, batch_size=batch_size):
            if isinstance(result, Unreadable):
                raise InputError(result.reason)
            yield result

    def examine(
        self,
        images: Images,
        finish: Callable[[Prediction | Unreadable], Finished],
        *,
        batch_size: int = 16,
        workers: int | None = None,
    ) -> Iterator[Finished]:
        """Yield what `finish` makes of each result, called in threads; photographs that cannot be read stop nothing.

        Args:
            images: as of `predict`.
            finish: gets each result.
            batch_size: photographs per forward pass.
            workers: threads besides the network's; by default one per usable core.
        """
        return examine(
            self.method,
            photographs(images),
            finish,
            resize_crop=self.resize_crop,
            bits=self.bits,
            device=self._device,
            batch_size=batch_size,
            workers=workers,
        )


def _itself(result: Any) -> Any:
    return result
