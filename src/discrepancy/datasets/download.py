"""A public data set, downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview

from discrepancy.download import DownloadRequest, fetch, read_manifest
from discrepancy.errors import InputError


class DownloadDataset(AbstractDataset[DownloadRequest, dict[str, Any]]):
    """A public data set in its folder: saving a request downloads it, loading says what is there.

    Args:
        path: the data root.
        dataset: the name of the data set; requests for another one are refused.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, path: str, dataset: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self._dataset = str(dataset)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Read the manifest of the download (see `download.read_manifest`), and `folder`, where it lies."""
        manifest = read_manifest(self._path)
        if manifest is None:
            raise DatasetError(f"{self._path} holds no downloaded data set")
        return manifest | {"folder": _display_path(self._path)}

    def save(self, data: DownloadRequest) -> None:
        """Fetch, check and unpack, unless it is there."""
        if data.source.name != self._dataset:
            raise InputError(f"a request for {data.source.name}: expected one for {self._dataset}, as dataset=... says")
        fetch(data, self._path)

    def _exists(self) -> bool:
        return read_manifest(self._path) is not None

    def preview(self) -> JSONPreview:
        """Return the manifest, for kedro-viz."""
        return JSONPreview(json.dumps(read_manifest(self._path) or {}))

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "dataset": self._dataset}


def _display_path(path: Path) -> str:
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
