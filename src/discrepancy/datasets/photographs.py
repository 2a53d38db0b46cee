"""Photographs on disk, read only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from discrepancy.data.photographs import Photographs, open_photographs
from discrepancy.prediction.sources import common_folder, files_in
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


class TestPhotographsDataset(PhotographsDataset):
    """The test photographs of a category, or others; loads as a folder and the photographs in it.

    Args:
        path: the data root.
        dataset: how it is laid out.
        category: the part.
        input: a photograph, a folder or a pattern in place of the test photographs; empty for none.
        metadata: for Kedro plugins.
    """

    __test__ = False  # no test of pytest's

    def __init__(
        self, *, path: str, dataset: str, category: str, input: str = "", metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(path=path, dataset=dataset, category=category, metadata=metadata)
        self._input = input

    def load(self) -> tuple[Path, list[Path]]:  # type: ignore[override]  # paths, not the sample table
        """Find the photographs."""
        if self._input:
            return common_folder(self._input), files_in(self._input)
        photographs = super().load()
        samples = photographs.samples
        return photographs.root, [photographs.root / name for name in samples.loc[samples["split"] == "test", "image"]]

    def _exists(self) -> bool:
        return bool(self._input) or super()._exists()
