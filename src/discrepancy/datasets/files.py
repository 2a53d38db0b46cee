"""Tables, JSON values and texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pandas as pd
from kedro.io import Version
from kedro_datasets._typing import JSONPreview, TablePreview

from discrepancy.data.sample_file import parse_sample_table
from discrepancy.datasets.own import FileDataset


class TableDataset(FileDataset[pd.DataFrame, pd.DataFrame]):
    """A table, as a CSV file.

    Args:
        filepath: the file.
        load_args: of `pandas.read_csv`.
        save_args: of `DataFrame.to_csv`; the index is left out unless they say otherwise.
        version: Kedro's.
        credentials: of a store, see `OwnDataset`.
        fs_args: of a store.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        version: Version | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath, version=version, credentials=credentials, fs_args=fs_args, metadata=metadata
        )
        self._load_args = load_args or {}
        self._save_args = {"index": False, **(save_args or {})}

    def _encode(self, data: pd.DataFrame) -> bytes:
        return data.to_csv(**self._save_args).encode()

    def _decode(self, content: bytes) -> pd.DataFrame:
        return pd.read_csv(BytesIO(content), **self._load_args)

    def preview(self, nrows: int = 20) -> TablePreview:
        """Return the first rows, for kedro-viz."""
        return TablePreview(self.load().head(nrows).to_dict(orient="split"))


class SamplesDataset(TableDataset):
    """A sample table, looked at before later steps rely on it."""

    def _decode(self, content: bytes) -> pd.DataFrame:
        return parse_sample_table(content, str(self._filepath))


class ValuesDataset(FileDataset[Any, Any]):
    """JSON values, as a file."""

    def _encode(self, data: Any) -> bytes:
        return f"{json.dumps(data, indent=2)}\n".encode()

    def _decode(self, content: bytes) -> Any:
        return json.loads(content)

    def preview(self) -> JSONPreview:
        """Return the values, for kedro-viz."""
        return JSONPreview(json.dumps(self.load()))


class TextDataset(FileDataset[str, str]):
    """A text, as a file in UTF-8."""

    def _encode(self, data: str) -> bytes:
        return data.encode()

    def _decode(self, content: bytes) -> str:
        return content.decode()
