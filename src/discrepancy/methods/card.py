"""The card of a detector: method, training data, parameters and thresholds. Typed, versioned, JSON on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from discrepancy.decisions.calibration import Calibration, Rule
from discrepancy.decisions.segmentation import SegmentationRule
from discrepancy.errors import InputError
from discrepancy.parameters import shortened

FORMAT = 3
"""Version of cards, raised when earlier programs would misread new ones; cards without one have version 1.

Version 2: outlines follow the smoothed map, and parts that pass have none.
Version 3: an image score may be the mean of a share of the map's values.
"""

LARGEST = 1 << 14
"""Longest side of the images, px."""

LARGEST_SIGMA = 1e4
"""Widest smoothing, px: wider than any image."""

MOST_SCORES = 1_000_000
"""More held-out images than anybody has."""

_Rate = Annotated[float, Field(ge=0, le=1)]
_Score = Annotated[float, Field(ge=-1e30, le=1e30)]
_Side = Annotated[int, Field(ge=1, le=LARGEST)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class CardEntry(BaseModel):
    """Part of a card. Values have exactly these types, numbers are finite; further entries are kept as they are."""

    model_config = ConfigDict(
        strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=(), validate_by_name=True
    )


class NetworkEntry(CardEntry):
    """The frozen network: its name, layers, digest and source of its weights."""

    backbone: _Name
    layers: list[_Name] = Field(min_length=1, max_length=200)
    weights: _Digest
    source: str = "an unnamed source"
    pooling: _Name = "max"
    padding: _Name = "reflect"

    @property
    def options(self) -> dict[str, str]:
        """Arguments of `build_backbone` besides name, layers and weights."""
        return {name: getattr(self, name) for name in ("pooling", "padding") if name in self.model_fields_set}


class ImageScoreEntry(CardEntry):
    """Rule from maps to image scores.

    Attributes:
        rule: in words.
        sigma: of the Gaussian that smooths the map, px; 0: none.
        share: the score is the mean of this share of the map's highest values; 0: the maximum.
    """

    rule: str = ""
    sigma: float = Field(ge=0, le=LARGEST_SIGMA)
    share: float = Field(0.0, ge=0, le=1)


class ThresholdEntry(CardEntry):
    """A threshold: scores above it are anomalous. Set at a target false-alarm rate on held-out good images.

    Attributes:
        value: the threshold.
        target_fpr: target false-alarm rate.
        images: number of held-out good images.
        note: how it was set, in words.
        rule: from scores to the threshold.
        expected_fpr: false-alarm rate that is expected; None on older cards.
        interval: its 95 % confidence interval.
        scores: of the held-out good images; empty on older cards.
        outliers: names of those whose scores did not count.
    """

    value: float
    target_fpr: float | None = Field(
        None, ge=0, lt=1, validation_alias=AliasChoices("target_fpr", "wished_false_positive_rate")
    )
    images: int | None = Field(None, ge=0)
    note: str = ""
    rule: Rule = "quantile"
    expected_fpr: float | None = Field(None, ge=0, le=1)
    interval: list[_Rate] | None = Field(None, min_length=2, max_length=2)
    scores: list[_Score] = Field([], max_length=MOST_SCORES)
    outliers: list[str] = Field([], max_length=MOST_SCORES)

    @property
    def calibration(self) -> Calibration | None:
        """The scores and the rule behind the threshold; None on older cards."""
        if not self.scores:
            return None
        return Calibration(np.array(self.scores), self.target_fpr or 0.0, self.rule)


class PixelEntry(ThresholdEntry):
    """The thresholds of outlined regions: `value` is that of a region's peak.

    Attributes:
        of: the target is a share of good images, or, as in the papers, of good pixels.
        low: threshold of a region's pixels, at most `value`; None: `value`.
        sigma: of the Gaussian that smooths maps, px.
        smallest: number of pixels of the smallest region, at the detector's size.
    """

    of: Literal["images", "pixels"] = "pixels"
    low: float | None = None
    sigma: float = Field(0.0, ge=0, le=LARGEST_SIGMA)
    smallest: int = Field(1, ge=1)

    @field_validator("low")
    @classmethod
    def _below_peaks(cls, low: float | None, entry: ValidationInfo) -> float | None:
        high = entry.data.get("value")
        if low is not None and high is not None and low > high:
            raise PydanticCustomError("low", "expected at most {value}, the threshold of peaks", {"value": high})
        return low

    @property
    def segmentation(self) -> SegmentationRule:
        """The rule from maps to outlines."""
        low = self.value if self.low is None else self.low
        return SegmentationRule(self.value, low, self.sigma, self.smallest, anomalous_only=self.of == "images")


class ThresholdsEntry(CardEntry):
    """The thresholds of pixels and of images."""

    pixel: PixelEntry
    image: ThresholdEntry


class Card(CardEntry):
    """A detector's description of itself. Methods with further typed entries extend it.

    Attributes:
        format: of the card.
        method: name of the method.
        parameters: of the method, JSON values.
        backbone: the frozen network.
        image_size: height and width of the images, px.
        image_score: rule from maps to image scores.
        thresholds: None until they are set.
        data_digest: digest of the sample table.
        dataset: name of the training data set.
        category: name of its category.
        preprocessing: parameters of ingestion.
        images: number of good images by split.
        epochs: passes over the training images; None for a method without, and on older cards.
        device: on which it was trained, `cpu` or the model of a GPU; empty on older cards.
        precision: in which it was trained, `fp32`, `tf32` or `bf16`; empty on older cards.
        versions: of the libraries.
        files: digests of the files beside the card, by name.
    """

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    method: _Name
    parameters: dict[str, Any]
    backbone: NetworkEntry
    image_size: list[_Side] = Field(min_length=2, max_length=2)
    image_score: ImageScoreEntry
    thresholds: ThresholdsEntry | None = None
    data_digest: str = ""
    dataset: str = ""
    category: str = ""
    preprocessing: dict[str, Any] = {}
    images: dict[str, int] = {}
    epochs: int | None = Field(None, ge=1)
    device: str = ""
    precision: Literal["", "fp32", "tf32", "bf16"] = ""
    versions: dict[str, str] = {}
    files: dict[str, _Digest] = {}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Check JSON values and build the card from them.

        Raises:
            InputError: an entry does not fit; the message gives value and expectation, the caller names the file.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))[:80]
            given = "" if first["type"] == "missing" else f", found {shortened(first['input'], 80)}"
            raise InputError(f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}{given}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the entries that were given, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)

    def with_entries(self, **entries: Any) -> Self:
        """Return a copy with some entries replaced or added; all are checked again."""
        return self.read(self.to_json() | entries)

    @property
    def decision(self) -> ThresholdsEntry:
        """The thresholds.

        Raises:
            InputError: they are not set yet.
        """
        if self.thresholds is None:
            raise InputError("the detector has no thresholds yet; expected one that a run has finished")
        return self.thresholds
