"""Photographs on disk, read only."""

from __future__ import annotations

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from discrepancy.data.photographs import Photographs, open_photographs
from discrepancy.stores import local_path


class PhotographsDataset(AbstractDataset[NoReturn, Photographs]):
    """A category of photographs. Loading reads the sample table, and renders the demo category if it is missing.

    Args:
        path: the data root.
        dataset: how it is laid out: `demo`, `mvtec_ad`, `folder`, ...
        category: the part.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, path: str, dataset: str, category: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = local_path(path, "photographs are read at any time of a run")
        self._dataset = str(dataset)
        self._category = str(category)
        self.metadata = metadata

    def load(self) -> Photographs:
        """Find the images, check them, and list them."""
        return open_photographs(self._dataset, self._category, self._path)

    def save(self, data: NoReturn) -> None:
        """Refuse: photographs are read only."""
        raise DatasetError("Photographs are read only")

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "dataset": self._dataset, "category": self._category}
