"""Trained detectors, and the checkpoints of those in training."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, Version
from kedro_datasets._typing import JSONPreview

from discrepancy.methods.detector import CARD, WEIGHTS, Detector, load_detector, save_detector


class DetectorDataset(AbstractVersionedDataset[Detector, Detector]):
    """A folder with the trained weights (safetensors) and the card (JSON).

    Args:
        filepath: the folder.
        weights: where the backbone's weights are, if not where they were at training.
        version: Kedro's.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        weights: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=PurePosixPath(filepath),
            version=version,
            exists_function=_holds_a_card,
        )
        self._weights = weights
        self.metadata = metadata

    def load(self) -> Detector:
        """The detector, on the CPU, ready to score."""
        return load_detector(Path(self._get_load_path()), weights=self._weights)

    def save(self, data: Detector) -> None:
        """Write weights and card."""
        save_detector(data, Path(self._get_save_path()))

    def _exists(self) -> bool:
        try:
            return (Path(self._get_load_path()) / WEIGHTS).is_file()
        except DatasetError:
            return False

    def preview(self) -> JSONPreview:
        """The card, for kedro-viz."""
        return JSONPreview((Path(self._get_load_path()) / CARD).read_text(encoding="utf-8"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


def _holds_a_card(folder: str) -> bool:
    return (Path(folder) / CARD).is_file()


class CheckpointDataset(AbstractDataset[NoReturn, Path]):
    """Where a training run keeps its state. Loads as a path; the file is removed when a whole run has ended well.

    Args:
        filepath: the file.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """The path."""
        return self._filepath

    def save(self, data: NoReturn) -> None:
        """Not possible."""
        raise DatasetError("Checkpoints are written by the training loop")

    def clear(self) -> None:
        """Remove the file: what it guarded is saved."""
        self._filepath.unlink(missing_ok=True)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
