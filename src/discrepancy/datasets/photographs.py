"""Photographs on disk, read only."""

from __future__ import annotations

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from discrepancy.data.photographs import Photographs, open_photographs
from discrepancy.datasets.files import SamplesDataset
from discrepancy.export.comparison import ExportPhotographs
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


class ExportPhotographsDataset(PhotographsDataset):
    """The photographs that an export is compared on: the test photographs of a category, or others.

    Args:
        path: the data root.
        dataset: how it is laid out.
        category: the part.
        input: a photograph, a folder or a pattern in place of the test photographs; empty for none.
        samples: file of the sample table of the training, which says which images were held out.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        path: str,
        dataset: str,
        category: str,
        input: str = "",
        samples: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path, dataset=dataset, category=category, metadata=metadata)
        self._input = input
        self._samples = SamplesDataset(filepath=samples) if samples else None

    def load(self) -> ExportPhotographs:  # type: ignore[override]  # paths, not the sample table
        """Find the photographs."""
        learnt_from = self._samples.load if self._samples is not None and self._samples.exists() else None
        if self._input:
            return ExportPhotographs(common_folder(self._input), files_in(self._input), self._path, learnt_from)
        photographs = super().load()
        root, samples = photographs.root, photographs.samples
        test = [root / name for name in samples.loc[samples["split"] == "test", "image"]]
        return ExportPhotographs(root, test, root, learnt_from)

    def _exists(self) -> bool:
        return bool(self._input) or super()._exists()
