"""Contents of a benchmark's folder, and the files of its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

Part = tuple[str, str, str]
"""Method, data set, category."""


@dataclass(frozen=True)
class BenchmarkResults:
    """Contents of a benchmark's folder.

    Attributes:
        name: the benchmark's.
        results: one row per trial, see `store.TrialStore.table`.
        galleries: the first finished seed's gallery of each method and part, PNG files.
    """

    name: str
    results: pd.DataFrame
    galleries: dict[Part, Path]


@dataclass(frozen=True)
class PageFiles:
    """A page and the pictures beside it.

    Attributes:
        html: the page.
        pictures: files to copy, by their path relative to the page.
    """

    html: str
    pictures: dict[str, Path]
