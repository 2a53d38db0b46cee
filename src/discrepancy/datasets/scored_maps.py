"""Anomaly maps with the image scores that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from kedro.io import DatasetError

from discrepancy.data.lazy_array import LazyArray
from discrepancy.datasets.array import ArrayDataset
from discrepancy.detection.scoring import LazyScores, ScoredMaps


class ScoredMapsDataset(ArrayDataset):
    """Maps as an `ArrayDataset`; image scores and the seconds that they took stand on its card.

    Args:
        filepath: the file of the maps.
        metadata: for Kedro plugins.
    """

    def load(self) -> ScoredMaps:  # type: ignore[override]  # maps and scores
        """Return maps, memory-mapped, and scores."""
        maps, card = self.load_with_card()
        scored = card.get("scored")
        if not isinstance(scored, dict) or len(scored["image_scores"]) != len(maps):
            raise DatasetError(f"{self._filepath}: no image scores beside the maps; expected a run that scores anew")
        return ScoredMaps(maps, np.array(scored["image_scores"], np.float32), float(scored["seconds"]))

    def save(self, data: LazyScores) -> None:  # type: ignore[override]  # computes both
        """Compute maps and scores, and write them."""
        scores: list[float] = []
        seconds = 0.0

        def maps() -> Iterator[np.ndarray]:
            nonlocal seconds
            for piece in data.pieces():
                scores.extend(map(float, piece.image_scores))
                seconds += piece.seconds
                yield piece.maps

        def notes() -> dict[str, Any]:
            return {"scored": {"image_scores": scores, "seconds": seconds}}

        self.write(LazyArray(data.shape, np.dtype(np.float32), maps), notes)
