"""A benchmark's folder: results of all trials come out, the page and the galleries that it shows go in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from discrepancy.atomic import replacing
from discrepancy.benchmark.results import BenchmarkResults, PageFiles
from discrepancy.benchmark.store import TrialStore
from discrepancy.errors import InputError
from discrepancy.stores import local_path


class BenchmarkDataset(AbstractDataset[NoReturn, BenchmarkResults]):
    """The results of a benchmark, read only.

    Args:
        path: its folder.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self.path = local_path(path, "a benchmark's folder is written by many processes at once")
        self.metadata = metadata

    def load(self) -> BenchmarkResults:
        """Read every trial's result.

        Raises:
            InputError: there is none.
        """
        store = TrialStore(self.path)
        results = store.table()
        if results.empty:
            others = sorted(path.name for path in self.path.parent.glob("*") if path.is_dir())
            there = f"benchmarks there: {', '.join(others)}" if others else "none was run yet"
            raise InputError(
                f"{self.path} holds no results: expected those of `kedro benchmark --name={self.path.name}`; {there}"
            )
        return BenchmarkResults(self.path.name, results, store.galleries())

    def save(self, data: NoReturn) -> None:
        """Refuse: results are written by the trials."""
        raise DatasetError("Results are written by the trials")

    def _exists(self) -> bool:
        return self.path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self.path)}


class PageDataset(AbstractDataset[PageFiles, Path]):
    """A folder with `index.html` and pictures, replaced as a whole; loads as the path of the page.

    Args:
        path: the folder.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = local_path(path, "the page is opened from disk")
        self.metadata = metadata

    def load(self) -> Path:
        """Return the path of the page."""
        return self._path / "index.html"

    def save(self, data: PageFiles) -> None:
        """Write the page and copy its pictures."""
        with replacing(self._path) as fresh:
            fresh.mkdir()
            for name, picture in data.pictures.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, fresh / name)
            (fresh / "index.html").write_text(data.html, encoding="utf-8")

    def _exists(self) -> bool:
        return (self._path / "index.html").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
