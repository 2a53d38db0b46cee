"""Anomaly maps and image scores of many images, computed piece by piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from discrepancy.device_memory import images_at_once, shrinking_batches
from discrepancy.host_copies import from_device, one_ahead, to_device
from discrepancy.methods.base import Method


class ScoredPiece(NamedTuple):
    """Maps float32 [n, H, W] and image scores float32 [n] of a few images, and the seconds that they took."""

    maps: NDArray[np.float32]
    image_scores: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class ScoredMaps:
    """Result of a detector for N images.

    Attributes:
        maps: anomaly maps, float32 [N, H, W], raw.
        image_scores: float32 [N], higher = more anomalous.
        seconds: that computing them took, without writing.
    """

    maps: NDArray[np.float32]
    image_scores: NDArray[np.float32]
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput; NaN if nothing was measured."""
        return len(self.maps) / self.seconds if self.seconds else float("nan")


@dataclass(frozen=True)
class LazyScores:
    """Maps and scores of N images that are computed when they are saved, as Dask's and Polars' values are.

    Attributes:
        detector: the detector.
        images: uint8 [N, 3, H, W], memory-mapped or not.
        device: where to compute.
        batch_size: images of up to 256x256 px per forward pass, of larger ones fewer (see `images_at_once`); halved
            where a GPU's memory is too small.
    """

    detector: Method = field(repr=False)
    images: NDArray[np.uint8] = field(repr=False)
    device: torch.device
    batch_size: int = 16

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W) of the maps."""
        return len(self.images), self.images.shape[2], self.images.shape[3]

    def pieces(self) -> Iterator[ScoredPiece]:
        """Compute maps and scores; yields pieces in the order of the images.

        Raises:
            InputError: a GPU's memory is too small for one image.
        """
        self.detector.to(self.device).eval()
        size = images_at_once(self.batch_size, *self.images.shape[2:])
        what = f"{self.detector.name}: scoring {size} images at a time (scoring.batch_size)"
        remedies = ["a smaller image_size", "scoring.device=cpu"]
        started = shrinking_batches(len(self.images), size, self._started, what=what, remedies=remedies)
        began = time.perf_counter()
        for finish in one_ahead(started) if self.device.type == "cuda" else started:
            maps, image_scores = finish()
            yield ScoredPiece(maps, image_scores, time.perf_counter() - began)
            began = time.perf_counter()

    def _started(self, rows: slice) -> Callable[[], list[NDArray[np.float32]]]:
        """Give a batch to the device; the call that is returned waits for its maps and scores."""
        with torch.inference_mode():
            found = self.detector.score(to_device(self.images[rows], self.device))
            return from_device([part.float() for part in found])

    def computed(self) -> ScoredMaps:
        """Compute everything, in memory."""
        return joined(self.pieces())


def joined(pieces: Iterable[ScoredPiece]) -> ScoredMaps:
    """Return maps and scores of all pieces together."""
    kept = list(pieces)
    return ScoredMaps(
        np.concatenate([piece.maps for piece in kept]),
        np.concatenate([piece.image_scores for piece in kept]),
        sum(piece.seconds for piece in kept),
    )
