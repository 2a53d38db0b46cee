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
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from discrepancy.detection.scoring import LazyScores, ScoredMaps, ScoredPiece, joined
from discrepancy.devices import computing_in
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import LazyFeatures
from discrepancy.methods.base import Method, TrainingData
from discrepancy.methods.parameters import MethodParameters
from discrepancy.rows import Rows

if TYPE_CHECKING:
    from discrepancy.data.parameters import IngestionParameters

logger = logging.getLogger(__name__)


def deal_folds(digests: Sequence[str], folds: int, *, seed: int) -> list[NDArray[np.intp]]:
    """Deal images to folds of nearly the same size; copies of one image stay together.

    Args:
        digests: of the images [N], the same for copies.
        folds: number of folds, 2 or more.
        seed: of the draw, which depends on the digests and not on the images' order.

    Returns:
        for each fold its rows, ascending.

    Raises:
        InputError: there are fewer different images than folds, or less than 2 folds.
    """
    different = sorted(set(digests))
    if not 2 <= folds <= len(different):
        raise InputError(
            f"folds is {folds}; expected 2 to {len(different)}, the number of different good training images"
        )
    drawn = np.random.default_rng(seed).permutation(len(different))
    fold_of = {different[image]: place % folds for place, image in enumerate(drawn)}
    found = np.array([fold_of[digest] for digest in digests])
    return [np.flatnonzero(found == fold) for fold in range(folds)]


def held_out_folds(samples: pd.DataFrame, ingestion: IngestionParameters) -> list[NDArray[np.intp]]:
    """Return the rows of the held-out good images: of each fold, or of the validation split as one.

    Raises:
        InputError: there are none, or fewer different images than folds.
    """
    if ingestion.calibration == "holdout":
        rows = np.flatnonzero(samples["split"] == "validation")
        if not len(rows):
            raise InputError(
                "the sample table holds out no image, as one for cross-fitting; expected a validation split: start at "
                "the beginning, without --from-nodes, or with ingestion.calibration=cross"
            )
        return [rows]
    good = samples["sha256"][samples["split"] == "train"]  # the first rows
    return deal_folds(list(good), ingestion.folds, seed=ingestion.seed)


def held_out_names(samples: pd.DataFrame, ingestion: IngestionParameters) -> list[str]:
    """Return the names of the held-out good images, in the order in which they are scored."""
    return list(samples["image"].iloc[np.concatenate(held_out_folds(samples, ingestion))])


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
        held_out: rows of the images that take no part.
        checkpoint: file of the state during training; None keeps none.
        parameters: of the method.
    """
    learnt = np.setdiff1d(np.arange(len(data.images)), held_out)
    order = np.concatenate([learnt, held_out])
    images: Any = Rows(data.images, order)
    features = None if data.features is None else data.features.rows(order)
    part = TrainingData(images, features, len(learnt))
    with computing_in(parameters.precision):
        prepared = prepare(type(trained), trained.backbone, part, parameters)
        card = trained.card.with_entries(
            images={"train": len(learnt), "validation": len(held_out)}, **trained.card_entries(parameters, prepared)
        )
        detector = type(trained)(trained.backbone, parameters, card)
        detector.fit(replace(part, prepared=prepared), checkpoint)
    return detector


def prepare(
    method: type[Method], backbone: Backbone, data: TrainingData, parameters: MethodParameters
) -> dict[str, Any]:
    """Return the results of a method's preparations; planned features are computed, into the cache of the others."""
    found = {step.name: step.compute(backbone, data, parameters) for step in method.preparations}
    return {
        name: FeatureCache(data.cached.path.parent).get(value) if isinstance(value, LazyFeatures) else value
        for name, value in found.items()
    }


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
                place.unlink(missing_ok=True)

    def _checkpoint(self, number: int) -> Path | None:
        """Return the file of a fold's training."""
        if self.checkpoint is None:
            return None
        return self.checkpoint.with_name(f"{self.checkpoint.stem}.fold{number}{self.checkpoint.suffix}")

    def computed(self) -> ScoredMaps:
        """Compute everything, in memory."""
        return joined(self.pieces())
