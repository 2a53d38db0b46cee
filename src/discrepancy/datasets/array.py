"""Large arrays: written in pieces, read memory-mapped."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from discrepancy.errors import InputError
from discrepancy.inspection.chunks import ChunkedArray


class ArrayDataset(AbstractDataset[np.ndarray | ChunkedArray, np.ndarray]):
    """A `.npy` file that is loaded as a read-only memory map and written to another name, then renamed.

    Args:
        filepath: the file.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> np.ndarray:
        """The array, memory-mapped."""
        return np.load(self._filepath, mmap_mode="r", allow_pickle=False)

    def save(self, data: np.ndarray | ChunkedArray) -> None:
        """Write an array, or the pieces of one that does not fit in memory."""
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        self._make_room(math.prod(data.shape) * data.dtype.itemsize)
        temporary = self._filepath.with_name(f".{self._filepath.name}.{uuid.uuid4().hex[:8]}")
        try:
            target = np.lib.format.open_memmap(temporary, mode="w+", dtype=data.dtype, shape=data.shape)
            if isinstance(data, ChunkedArray):
                data.fill(target)
            else:
                target[...] = data
            target.flush()
            del target
            os.replace(temporary, self._filepath)
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        """Delete what killed runs left here an hour ago or longer; refuse what the disk cannot hold."""
        for leftover in self._filepath.parent.glob(f".{self._filepath.name}.*"):
            if time.time() - leftover.stat().st_mtime > 3600:
                leftover.unlink(missing_ok=True)
        free = shutil.disk_usage(self._filepath.parent).free
        if needed > free:
            raise InputError(
                f"{self._filepath}: {needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free; expected more room "
                "or a smaller image_size"
            )

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def preview(self) -> JSONPreview:
        """Shape, type and range, for kedro-viz."""
        array = np.load(self._filepath, mmap_mode="r", allow_pickle=False)
        facts: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if array.size:
            facts |= {"first_minimum": float(array[0].min()), "first_maximum": float(array[0].max())}
        return JSONPreview(json.dumps(facts))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
