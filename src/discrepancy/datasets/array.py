"""Large arrays: written in pieces, read memory-mapped, kept while nothing that decides their numbers changes."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from discrepancy.atomic import delete_leftovers, replacing
from discrepancy.data.lazy_array import LazyArray
from discrepancy.datasets.npy import write_npy
from discrepancy.datasets.origin import Origin, read_note, write_note
from discrepancy.errors import InputError
from discrepancy.npy import map_npy, same_file
from discrepancy.stores import local_path

logger = logging.getLogger(__name__)

# What reading a missing, truncated or foreign file raises.
_DAMAGES = (OSError, EOFError, ValueError)


class ArrayDataset(AbstractDataset[np.ndarray | LazyArray, np.ndarray]):
    """A `.npy` file that is loaded as a read-only memory map and written to another name, then renamed.

    A card, `<name>.npy.json`, lies beside the array. Saving an array that has a fingerprint again does nothing. An
    array without a fingerprint is always written. After `save`, `load` gives what was saved, even if another run has
    replaced the file meanwhile: a file stays on the disk as long as somebody reads it.

    Args:
        filepath: the file.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = local_path(filepath, "arrays are read memory-mapped, which no store allows")
        self._card = self._filepath.with_name(f"{self._filepath.name}.json")
        self._held: tuple[np.ndarray, dict[str, Any]] | None = None
        self.metadata = metadata
        self.origin: Origin | None = None
        self.stale = False

    def load(self) -> np.ndarray:
        """Return the array, memory-mapped."""
        return self.load_with_card()[0]

    def load_with_card(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the array, memory-mapped, and its card."""
        if self._held is None:
            array, card, _ = self._look()
            return array, card
        return self._held

    def save(self, data: np.ndarray | LazyArray) -> None:
        """Write an array, or the pieces of one that does not fit in memory, unless an earlier run did.

        Raises:
            InputError: the disk has no room, or refuses to be written.
        """
        self.write(data)

    def write(self, data: np.ndarray | LazyArray, notes: Callable[[], dict[str, Any]] = dict) -> None:
        """Do what `save` says; `notes` gives further JSON values for the card, after the last piece."""
        fingerprint = data.fingerprint if isinstance(data, LazyArray) else None
        if self.origin is not None:
            self.origin = self.origin.identified(fingerprint)
        self.stale, self._held = False, None
        if fingerprint is not None and (card := self._card_of(data, fingerprint)) is not None:
            logger.info("%s: %d from an earlier run", self._filepath.stem, data.shape[0])
            if self.origin is not None and card.get("origin") != self.origin.to_json():
                write_note(self._card, card | {"origin": self.origin.to_json()})
            return
        self._make_room(math.prod(data.shape) * data.dtype.itemsize)
        with replacing(self._filepath) as temporary:
            digest = write_npy(temporary, data)
            if self.origin is not None:
                self.origin = self.origin.identified(fingerprint or digest)
            written = temporary.stat()
            array = map_npy(temporary, name=self._filepath)
            # At no time does a card stand beside an array that is not its own.
            self._card.unlink(missing_ok=True)
        card = _card(fingerprint, written, self.origin) | notes()
        self._held = array, card
        if fingerprint is not None or len(card) > len(_card(None, written, None)):
            write_note(self._card, card)

    def delete(self) -> None:
        """Remove the array and its card; who has mapped it goes on reading it."""
        self._held = None
        self._card.unlink(missing_ok=True)
        self._filepath.unlink(missing_ok=True)

    def found(self) -> Iterator[tuple[str | None, Origin | None]]:
        """Yield the array that is on disk: no version, and its origin where one was kept."""
        try:
            array, card, file = self._look()
        except _DAMAGES:
            return
        self._held = array, card  # it is this file that the origin is checked for
        yield None, Origin.from_json(card.get("origin")) if _is_of(card, file) else None

    def use(self, version: str | None) -> None:
        """Do nothing: there is one version only."""

    def _release(self) -> None:
        self._held = None

    def _card_of(self, data: np.ndarray | LazyArray, fingerprint: str) -> dict[str, Any] | None:
        """The card of the file, if that was written for this fingerprint, is of this shape and data type, and whole."""
        try:
            array, card, file = self._look()
        except _DAMAGES:
            return None
        if (array.shape, array.dtype) != (data.shape, data.dtype):
            return None
        if not _is_of(card, file) or card.get("fingerprint") != fingerprint:
            return None
        self._held = array, card
        return card

    def _look(self) -> tuple[np.ndarray, dict[str, Any], os.stat_result]:
        """The array, its card and what the file system says of it, of one moment."""
        while True:
            before = self._filepath.stat()
            array, card = map_npy(self._filepath), read_note(self._card)
            if same_file(before, self._filepath.stat()):
                return array, card, before

    def _make_room(self, needed: int) -> None:
        """Refuse what the disk cannot hold; what killed runs left here does not count."""
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        delete_leftovers(self._filepath.parent)
        free = shutil.disk_usage(self._filepath.parent).free
        if needed > free:
            raise InputError(
                f"{self._filepath}: {needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free; expected more room "
                "or a smaller image_size"
            )

    def _exists(self) -> bool:
        return not self.stale and self._filepath.is_file()

    def preview(self) -> JSONPreview:
        """Return shape, data type and the range of the first row, for kedro-viz."""
        array = map_npy(self._filepath)
        facts: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if array.size:
            facts |= {"first_minimum": float(array[0].min()), "first_maximum": float(array[0].max())}
        return JSONPreview(json.dumps(facts))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _card(fingerprint: str | None, file: os.stat_result, origin: Origin | None) -> dict[str, Any]:
    """Return the note beside an array. Its time tells the array from one that another program, or run, put there."""
    card = {"fingerprint": fingerprint, "bytes": file.st_size, "modified_ns": file.st_mtime_ns}
    return card if origin is None else card | {"origin": origin.to_json()}


def _is_of(card: dict[str, Any], file: os.stat_result) -> bool:
    return (card.get("bytes"), card.get("modified_ns")) == (file.st_size, file.st_mtime_ns)
