"""Cross-fitting: every good image is scored by a detector that was trained without it.

The images are dealt to k folds. For each fold a detector learns from the other folds and scores this one. So all good
images give held-out scores, and all of them can train the detector that goes to work. The word is that of Chernozhukov
et al., Econometrics Journal 2018.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from discrepancy.checkpoint_files import part_of, with_parts
from discrepancy.detection.scoring import LazyScores, ScoredMaps, ScoredPiece, joined
from discrepancy.devices import computing_in, reproducible
from discrepancy.methods.base import Method, TrainingData
from discrepancy.methods.parameters import MethodParameters
from discrepancy.rows import Rows

logger = logging.getLogger(__name__)


def fit_without(
    trained: Method,
    data: TrainingData,
    held_out: NDArray[np.intp],
    checkpoint: Path | None,
    parameters: MethodParameters,
) -> Method:
    """Fit a detector like a given one, but without some of its images.

    Args:
        trained: gives method and frozen network.
        data: the good images, all of which may be trained on but those held out.
        held_out: rows of the images that take no part, not even in a validation or in a committee's weights.
        checkpoint: file of the state during training; None keeps none.
        parameters: of the method.
    """
    learnt = np.setdiff1d(np.arange(len(data.images)), held_out)
    images: Any = Rows(data.images, learnt)
    features = None if data.features is None else data.features.rows(learnt)
    part = TrainingData(images, features, len(learnt))
    with computing_in(parameters.precision), reproducible(parameters.deterministic, strictly=False):
        prepared = trained.prepare(trained.backbone, part, parameters)
        card = trained.card.with_entries(
            images={"train": len(learnt), "validation": len(held_out)}, **trained.card_entries(parameters, prepared)
        )
        detector = type(trained)(trained.backbone, parameters, card)
        detector.fit(replace(part, prepared=prepared), checkpoint)
    return detector


@dataclass(frozen=True)
class CrossFittedScores:
    """Maps and scores of all good images, each by a detector that was trained without it; computed when saved.

    The images come fold by fold: `order` says which.

    Attributes:
        trained: the detector that was trained on all of them; gives method and frozen network.
        data: the good images.
        parameters: of the method.
        folds: rows of each fold.
        checkpoint: file of the final training, beside which each fold has its own; None keeps none.
        device: where to compute.
        batch_size: images per forward pass.
    """

    trained: Method = field(repr=False)
    data: TrainingData = field(repr=False)
    parameters: MethodParameters
    folds: Sequence[NDArray[np.intp]]
    checkpoint: Path | None
    device: torch.device
    batch_size: int = 16

    @property
    def order(self) -> NDArray[np.intp]:
        """Rows of the images in the order in which they are scored."""
        return np.concatenate(self.folds)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W) of the maps."""
        return len(self.data.images), *self.trained.image_size

    def pieces(self) -> Iterator[ScoredPiece]:
        """Train without each fold in turn and score it; a killed run goes on from the last checkpoint.

        Raises:
            InputError: a GPU's memory is too small for one image.
        """
        for number, rows in enumerate(self.folds, start=1):
            logger.info("%s: cross-fitting, fold %d of %d", self.trained.name, number, len(self.folds))
            place = self._checkpoint(number)
            detector = fit_without(self.trained, self.data, rows, place, self.parameters)
            images: Any = Rows(self.data.images, rows)
            yield from LazyScores(detector, images, self.device, self.batch_size).pieces()
        for number in range(1, len(self.folds) + 1):
            if (place := self._checkpoint(number)) is not None:
                for path in with_parts(place):
                    path.unlink(missing_ok=True)

    def _checkpoint(self, number: int) -> Path | None:
        """Return the file of a fold's training."""
        return None if self.checkpoint is None else part_of(self.checkpoint, f"fold{number}")

    def computed(self) -> ScoredMaps:
        """Compute everything, in memory."""
        return joined(self.pieces())
