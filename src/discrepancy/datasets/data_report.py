"""A look at the photographs on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from discrepancy.data.data_report import DataReport
from discrepancy.data.images import ResizeCrop, parse_image_size
from discrepancy.data.photographs import report_on_photographs


class DataReportDataset(AbstractDataset[NoReturn, DataReport]):
    """A report on a category. Loading it reads every photograph; the demo category is rendered if it is missing.

    Args:
        path: the data root.
        dataset: how it is laid out: `demo`, `mvtec_ad`, `folder`, ...
        category: the part.
        image_size: height and width that the networks are shown, px; one number for a square.
        crop: height and width that is cut out of the centre of that; None for all of it.
        bit_depth: bits that photographs of 16 bits per channel use; None: as the files say.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        path: str,
        dataset: str,
        category: str,
        image_size: Any,
        crop: Any = None,
        bit_depth: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._path = Path(path)
        self._dataset = str(dataset)
        self._category = str(category)
        self._image_size = image_size
        self._crop = crop
        self._bit_depth = bit_depth
        self.metadata = metadata

    def load(self) -> DataReport:
        """Read every file, and report on it."""
        crop = None if self._crop is None else parse_image_size(self._crop, name="crop")
        resize_crop = ResizeCrop(parse_image_size(self._image_size), crop)
        return report_on_photographs(self._dataset, self._category, self._path, resize_crop, bits=self._bit_depth)

    def save(self, data: NoReturn) -> None:
        """Refuse: photographs are read only."""
        raise DatasetError("Photographs are read only")

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "dataset": self._dataset, "category": self._category}
