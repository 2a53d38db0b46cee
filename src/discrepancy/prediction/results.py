"""Results of a detector for new photographs, one or many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from discrepancy.data.images import ImageSize, ResizeCrop
from discrepancy.data.native_resolution import at_original_size
from discrepancy.prediction.regions import Region, find_regions
from discrepancy.prediction.sources import Photograph

if TYPE_CHECKING:
    import pandas as pd

ANOMALOUS: Final = "anomalous"
GOOD: Final = "good"
UNREADABLE: Final = "unreadable"
_KEPT: Final = "_kept_map"
COLUMNS: Final = ("file", "score", "threshold", "decision", "regions", "largest_region", "seconds", "reason")
"""Columns of the table: `largest_region` is an area in px, `reason` says why a file could not be read."""


@dataclass(frozen=True)
class Prediction:
    """Result for one photograph.

    Attributes:
        name: of the photograph.
        score: higher = more anomalous.
        threshold: of the decision.
        size: (height, width) of the photograph, px.
        seconds: that the network took for it, its share of a batch.
        pixel_threshold: of the outline.
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
    pixel_threshold: float
    small_map: NDArray[np.float32] = field(repr=False)
    resize_crop: ResizeCrop = field(repr=False)
    photograph: Photograph = field(repr=False)
    bits: int | None = field(default=None, repr=False)

    @property
    def anomalous(self) -> bool:
        """True if the score is above the threshold."""
        return self.score > self.threshold

    @property
    def decision(self) -> str:
        """`anomalous` or `good`."""
        return ANOMALOUS if self.anomalous else GOOD

    @property
    def map(self) -> NDArray[np.float32]:
        """Anomaly map of the photograph's size, float32 [h, w], computed anew at each access."""
        kept: NDArray[np.float32] | None = self.__dict__.get(_KEPT)
        return at_original_size(self.small_map, self.resize_crop, self.size) if kept is None else kept

    @contextmanager
    def map_kept(self) -> Iterator[None]:
        """Compute the map once for all that is done in the block."""
        self.__dict__[_KEPT] = self.map
        try:
            yield
        finally:
            del self.__dict__[_KEPT]

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Outlined regions, in pixels of the photograph, the highest peak first."""
        return find_regions(self.map, self.pixel_threshold)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels above the pixel threshold, bool [h, w]."""
        return self.map > self.pixel_threshold

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
        values = (self.score, self.threshold, self.decision, len(self.regions), largest, round(self.seconds, 4), "")
        return dict(zip(COLUMNS, (self.name, *values), strict=True))


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

        return pd.DataFrame([item.line() for item in self.items], columns=list(COLUMNS))

    def save(self, folder: Path | str, *, overlays: bool = True, maps: bool = True, masks: bool = True) -> None:
        """Write `predictions.csv`, and for each photograph an overlay, its raw map and its mask.

        Args:
            folder: made if it does not exist; files of the same names are replaced.
            overlays: JPEG files in `overlays/`.
            maps: raw anomaly maps in `maps/`, TIFF of float32.
            masks: in `masks/`, PNG, 255 above the pixel threshold.
        """
        from discrepancy.prediction.output import PictureWriter, write_table

        writer = PictureWriter(Path(folder), overlays=overlays, maps=maps, masks=masks)
        with writer.opened() as write:
            for item in self.items:
                write(item)
        write_table([item.line() for item in self.items], Path(folder) / "predictions.csv")
