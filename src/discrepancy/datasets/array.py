"""Large arrays: written in pieces, read memory-mapped, kept while nothing that decides their numbers changes."""

from __future__ import annotations

import json
import logging
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

from discrepancy.datasets.npy import write_npy
from discrepancy.errors import InputError
from discrepancy.inspection.chunks import ChunkedArray

logger = logging.getLogger(__name__)

# What reading a missing, truncated or foreign file raises.
_DAMAGES = (OSError, EOFError, ValueError)


class ArrayDataset(AbstractDataset[np.ndarray | ChunkedArray, np.ndarray]):
    """A `.npy` file that is loaded as a read-only memory map and written to another name, then renamed.

    A card, `<name>.npy.json`, lies beside an array that has a fingerprint. Saving such an array again does nothing. An
    array without a fingerprint is always written.

    Args:
        filepath: the file.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self._card = self._filepath.with_name(f"{self._filepath.name}.json")
        self.metadata = metadata

    def load(self) -> np.ndarray:
        """The array, memory-mapped."""
        return np.load(self._filepath, mmap_mode="r", allow_pickle=False)

    def save(self, data: np.ndarray | ChunkedArray) -> None:
        """Write an array, or the pieces of one that does not fit in memory, unless an earlier run did.

        Raises:
            InputError: the disk has no room, or refuses to be written.
        """
        fingerprint = data.fingerprint if isinstance(data, ChunkedArray) else None
        if fingerprint is not None and self._holds(data, fingerprint):
            logger.info("%s: %d from an earlier run", self._filepath.stem, data.shape[0])
            return
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        self._make_room(math.prod(data.shape) * data.dtype.itemsize)
        temporary = self._filepath.with_name(f".{self._filepath.name}.{uuid.uuid4().hex[:8]}")
        try:
            write_npy(temporary, data)
            written = temporary.stat()
            # At no time does a card stand beside an array that is not its own.
            self._card.unlink(missing_ok=True)
            os.replace(temporary, self._filepath)
        finally:
            temporary.unlink(missing_ok=True)
        if fingerprint is not None:
            self._card.write_text(json.dumps(_card(fingerprint, written)) + "\n", encoding="utf-8")

    def _holds(self, data: np.ndarray | ChunkedArray, fingerprint: str) -> bool:
        """Whether the file is the one that was written for this fingerprint, of this shape and data type, and whole."""
        try:
            card = json.loads(self._card.read_text(encoding="utf-8"))
            array = np.load(self._filepath, mmap_mode="r", allow_pickle=False)
            found = self._filepath.stat()
        except _DAMAGES:
            return False
        fits = (array.shape, array.dtype) == (data.shape, data.dtype)
        return fits and card == _card(fingerprint, found)

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


def _card(fingerprint: str, file: os.stat_result) -> dict[str, Any]:
    """What is written beside an array. The time tells it from one that another program, or another run, put there."""
    return {"fingerprint": fingerprint, "bytes": file.st_size, "modified_ns": file.st_mtime_ns}
