"""Results of a detector for new photographs, one or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from discrepancy.data.images import ImageSize, ResizeCrop
from discrepancy.data.native_resolution import at_original_size
from discrepancy.decisions.segmentation import SegmentationRule
from discrepancy.names import escaped
from discrepancy.prediction.regions import Region, find_regions
from discrepancy.prediction.sources import Photograph

if TYPE_CHECKING:
    import pandas as pd

ANOMALOUS: Final = "anomalous"
GOOD: Final = "good"
UNREADABLE: Final = "unreadable"
_KEPT: Final = "_kept_pixels"
COLUMNS: Final = (
    "file",
    "score",
    "threshold",
    "relative_score",
    "false_alarm_probability",
    "decision",
    "regions",
    "largest_region",
    "seconds",
    "reason",
)
"""Columns of the table: `relative_score` is score / threshold, `largest_region` is an area in px, and `reason` says why
a file could not be read."""


@dataclass(frozen=True)
class Prediction:
    """Result for one photograph.

    Attributes:
        name: of the photograph.
        score: higher = more anomalous.
        threshold: of the decision.
        size: (height, width) of the photograph, px.
        seconds: that the network took for it, its share of a batch.
        false_alarm_probability: share of good parts that are expected to score at least so high; NaN if an older
            detector does not say.
        segmentation: rule of the outlines.
        small_map: anomaly map of the detector's size, float32 [H, W].
        resize_crop: geometry of the detector's input.
        photograph: from which the overlay is drawn.
        bits: that 16-bit photographs use.
    """

    name: str
    score: float
    threshold: float
    size: ImageSize
    seconds: float
    false_alarm_probability: float
    segmentation: SegmentationRule
    small_map: NDArray[np.float32] = field(repr=False)
    resize_crop: ResizeCrop = field(repr=False)
    photograph: Photograph = field(repr=False)
    bits: int | None = field(default=None, repr=False)

    @property
    def anomalous(self) -> bool:
        """True if the score is above the threshold."""
        return self.score > self.threshold

    @property
    def relative_score(self) -> float:
        """The score as a multiple of the threshold: above 1 is anomalous, if the threshold is positive."""
        return self.score / self.threshold if self.threshold else math.nan

    @property
    def decision(self) -> str:
        """`anomalous` or `good`."""
        return ANOMALOUS if self.anomalous else GOOD

    @property
    def map(self) -> NDArray[np.float32]:
        """Anomaly map of the photograph's size, float32 [h, w], computed anew at each access."""
        return self._kept("map", lambda: at_original_size(self.small_map, self.resize_crop, self.size))

    @contextmanager
    def pixels_kept(self) -> Iterator[None]:
        """Compute map and mask at most once for all that is done in the block."""
        self.__dict__[_KEPT] = {}
        try:
            yield
        finally:
            del self.__dict__[_KEPT]

    def _kept(self, name: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        kept: dict[str, NDArray[Any]] | None = self.__dict__.get(_KEPT)
        if kept is None:
            return compute()
        if name not in kept:
            kept[name] = compute()
        return kept[name]

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Outlined regions, in pixels of the photograph, the highest peak first."""
        mask = self.mask
        return find_regions(self.map, mask) if mask.any() else ()

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Outlined pixels, bool [h, w]; a photograph that passes has none."""
        return self._kept("mask", self._outlined)

    def _outlined(self) -> NDArray[np.bool_]:
        if self.segmentation.anomalous_only and not self.anomalous:
            return np.zeros(self.size, dtype=bool)
        level = self.segmentation.level(self.small_map, anomalous=self.anomalous)
        return at_original_size(level, self.resize_crop, self.size) > self.segmentation.low

    def overlay(self) -> Image.Image:
        """Draw the outline of the regions over the photograph, which is read once more.

        Raises:
            InputError: the file has gone meanwhile.
        """
        return self.drawn_over(self.read())

    def read(self) -> Image.Image:
        """Read the photograph once more, upright, in mode `RGB`.

        Raises:
            InputError: the file has gone meanwhile.
        """
        return self.photograph.read(self.bits).convert("RGB")

    def drawn_over(self, image: Image.Image) -> Image.Image:
        """Draw the outline of the regions over an image of the photograph's size, in mode `RGB`."""
        from discrepancy.figures.overlays import outline  # imports matplotlib

        pixels = np.asarray(image).transpose(2, 0, 1)
        return Image.fromarray(outline(pixels, self.mask, thickness=max(2, min(self.size) // 200)))

    def line(self) -> dict[str, str | float | int]:
        """Return the line of the table, by column."""
        largest = max((region.area for region in self.regions), default=0)
        known: dict[str, str | float | int] = {
            "file": self.name,
            "score": self.score,
            "threshold": self.threshold,
            "relative_score": _rounded(self.relative_score),
            "false_alarm_probability": _rounded(self.false_alarm_probability),
            "decision": self.decision,
            "regions": len(self.regions),
            "largest_region": largest,
            "seconds": round(self.seconds, 4),
            "reason": "",
        }
        return {name: value for name, value in known.items() if value == value}  # noqa: PLR0124 (leaves out NaN)


def printable(line: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return a line with text that tables can hold: bytes of a file's name that are no UTF-8 as `\udce9`."""
    return {name: escaped(value) if isinstance(value, str) else value for name, value in line.items()}


def _rounded(value: float) -> float:
    """Round to four digits, which is more than is known."""
    return float(f"{value:.4g}")


@dataclass(frozen=True)
class Unreadable:
    """A photograph that could not be examined.

    Attributes:
        name: of the photograph.
        reason: the error.
    """

    name: str
    reason: str

    def line(self) -> dict[str, str | float | int]:
        """Return the line of the table, by column; values that do not exist are left out."""
        return {"file": self.name, "decision": UNREADABLE, "reason": self.reason}


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """Results for several photographs, in their order.

    Attributes:
        items: one for each.
    """

    items: tuple[Prediction, ...]

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> Predictions: ...

    def __getitem__(self, index: int | slice) -> Prediction | Predictions:
        """Return the result of one photograph, or those of some."""
        return Predictions(self.items[index]) if isinstance(index, slice) else self.items[index]

    def __iter__(self) -> Iterator[Prediction]:
        """Iterate over the results."""
        return iter(self.items)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Scores [N]."""
        return np.array([item.score for item in self.items], dtype=np.float64)

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """True where a photograph is called anomalous, [N]."""
        return np.array([item.anomalous for item in self.items], dtype=bool)

    @property
    def maps(self) -> list[NDArray[np.float32]]:
        """Anomaly maps of the photographs' sizes, float32 [h, w] each."""
        return [item.map for item in self.items]

    @property
    def regions(self) -> list[tuple[Region, ...]]:
        """Outlined regions of each photograph."""
        return [item.regions for item in self.items]

    def overlay(self, index: int) -> Image.Image:
        """Draw the outline of the regions over a photograph."""
        return self.items[index].overlay()

    def to_pandas(self) -> pd.DataFrame:
        """Return the table, one line per photograph, with the columns of `predictions.csv`."""
        import pandas as pd

        return pd.DataFrame([printable(item.line()) for item in self.items], columns=list(COLUMNS))

    def save(self, folder: Path | str, *, overlays: bool = True, maps: bool = True, masks: bool = True) -> None:
        """Write `predictions.csv`, and for each photograph an overlay, its raw map and its mask.

        Args:
            folder: made if it does not exist; files of the same names are replaced.
            overlays: JPEG files in `overlays/`.
            maps: raw anomaly maps in `maps/`, TIFF of float32.
            masks: of the outlined pixels in `masks/`, PNG, 255 in them.
        """
        from discrepancy.prediction.output import PictureWriter, write_table

        writer = PictureWriter(Path(folder), overlays=overlays, maps=maps, masks=masks)
        with writer.opened() as write:
            for item in self.items:
                write(item)
        write_table([item.line() for item in self.items], Path(folder) / "predictions.csv")
