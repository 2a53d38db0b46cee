"""Dataset of bundles: detectors that leave the machine they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from discrepancy.export.bundle import CARD, check_place, write_bundle
from discrepancy.stores import local_path


class BundleDataset(AbstractDataset[dict[str, bytes], Path]):
    """A bundle: a folder, and the same as a .zip file beside it. Saves its files by name, loads as its folder.

    Args:
        path: the folder.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = local_path(path, "it is to be copied to another computer")
        self.metadata = metadata

    def check_place(self) -> None:
        """Refuse a folder that holds something else than a bundle; called before a run."""
        check_place(self._path)

    def load(self) -> Path:
        """Return the folder."""
        return self._path

    def save(self, data: dict[str, bytes]) -> None:
        """Write folder and .zip file, each whole or not at all."""
        write_bundle(data, self._path)

    def _exists(self) -> bool:
        return (self._path / CARD).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
