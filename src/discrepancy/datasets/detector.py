"""Trained detectors, and the checkpoints of those in training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError, Version
from kedro_datasets._typing import JSONPreview

from discrepancy.checkpoint_files import with_parts
from discrepancy.datasets.own import FileDataset, OwnDataset
from discrepancy.detection.storage import CARD, WEIGHTS, load_method, save_method
from discrepancy.errors import InputError
from discrepancy.json_files import parse_object
from discrepancy.methods.base import Method
from discrepancy.methods.card import Card
from discrepancy.stores import local_path


class DetectorDataset(OwnDataset[Method, Method]):
    """A folder with the trained weights (safetensors) and the card (JSON).

    Args:
        filepath: the folder.
        weights: where the backbone's weights are, if not where they were at training.
        hold: give the next steps the detector that was saved, without reading it back.
        version: Kedro's.
        credentials: of a store, see `OwnDataset`.
        fs_args: of a store.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        weights: str | None = None,
        hold: bool = False,
        version: Version | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath, version=version, credentials=credentials, fs_args=fs_args, metadata=metadata
        )
        self._weights = weights
        self._hold = hold
        self._held: Method | None = None

    def load(self) -> Method:
        """Return the detector that is held, or read it."""
        return super().load() if self._held is None else self._held

    def _is_whole(self, path: str) -> bool:
        return all(self._files.exists(f"{path}/{name}") for name in (CARD, WEIGHTS))

    def _write(self, data: Method, path: Path) -> None:
        save_method(data, path)
        self._held = data if self._hold else None

    def _read(self, path: Path) -> Method:
        """Read the detector, to the CPU, ready to score."""
        return load_method(path, weights=self._weights)

    def _release(self) -> None:
        super()._release()
        self._held = None

    def preview(self) -> JSONPreview:
        """Return the card, for kedro-viz."""
        with self.local_copy() as folder:
            return JSONPreview((folder / CARD).read_text(encoding="utf-8"))


class CardDataset(FileDataset[Card, Card]):
    """A detector's card, as a JSON file of its own."""

    def _encode(self, data: Card) -> bytes:
        return f"{json.dumps(data.to_json(), indent=2)}\n".encode()

    def _decode(self, content: bytes) -> Card:
        try:
            return Card.read(parse_object(content, str(self._filepath)))
        except InputError as error:
            raise InputError(f"{self._filepath}: {error}") from error

    def preview(self) -> JSONPreview:
        """Return the card, for kedro-viz."""
        return JSONPreview(json.dumps(self.load().to_json()))


Stamp = tuple[int, int]
"""Inode and time of change, ns."""


class CheckpointDataset(AbstractDataset[NoReturn, Path]):
    """The state of a training run, replaced while it goes on. Loads as a path.

    Args:
        filepath: the file.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = local_path(filepath, "a checkpoint is replaced while a training goes on")
        self._found: dict[Path, Stamp] = {}
        self._finished: dict[Path, Stamp] = {}
        self.metadata = metadata

    def load(self) -> Path:
        """Return the path."""
        self._found = self._stamps()
        return self._filepath

    def save(self, data: NoReturn) -> None:
        """Refuse: checkpoints are written by the training loop."""
        raise DatasetError("Checkpoints are written by the training loop")

    def finish(self) -> None:
        """Remember the state with which this run's training has ended, if a step has written or taken up any."""
        self._finished |= {path: stamp for path, stamp in self._stamps().items() if stamp != self._found.get(path)}

    def clear(self) -> None:
        """Remove the files that hold that state still: what they guarded is saved. Another run's state is kept."""
        now = self._stamps()
        for path, stamp in self._finished.items():
            if now.get(path) == stamp:
                path.unlink(missing_ok=True)

    def _stamps(self) -> dict[Path, Stamp]:
        """Return what tells the states of the training and of its parts apart from others, by file."""
        found = {}
        for path in with_parts(self._filepath):
            with suppress(OSError):
                status = path.stat()
                found[path] = (status.st_ino, status.st_mtime_ns)
        return found

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
