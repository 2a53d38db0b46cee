"""Datasets of the predict pipeline: a trained detector, and the folder of its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError, Version

from discrepancy.datasets.own import OwnDataset
from discrepancy.detection.storage import CARD, WEIGHTS, load_method
from discrepancy.errors import InputError
from discrepancy.loading import load_detector
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.store import PredictionStore
from discrepancy.stores import local_path


class TrainedDetectorDataset(OwnDataset[NoReturn, Detector]):
    """A detector ready to predict, on the CPU: the newest version of a folder, or one from elsewhere. Read only.

    Args:
        filepath: the folder of versions that trainings write.
        place: a folder, or an address of MLflow, that is read in its place; empty for none.
        weights: location of the backbone's weights, if not where they were at training.
        version: Kedro's.
        credentials: of a store, see `OwnDataset`.
        fs_args: of a store.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        place: str = "",
        weights: str | None = None,
        version: Version | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath, version=version, credentials=credentials, fs_args=fs_args, metadata=metadata
        )
        self._place = place
        self._weights = weights
        self._held: Detector | None = None

    def load(self) -> Detector:
        """Read the detector once for all steps of a run.

        Raises:
            InputError: nothing was trained yet, or a file is damaged.
        """
        if self._held is None:
            self._held = self._find()
        return self._held

    def _find(self) -> Detector:
        """Return the detector from where the parameters say.

        Raises:
            InputError: nothing was trained yet, or a file is damaged.
        """
        if self._place:
            return load_detector(self._place, weights=self._weights, device="cpu")
        try:
            path = self._get_load_path()
        except DatasetError as error:
            raise InputError(
                f"{self._filepath}: no detector; expected a training of this part before, kedro run "
                "--pipelines=<method> --params=category=..., or detector=... of another place"
            ) from error
        if not self._is_whole(str(path)):
            there = ", ".join(self.list_versions(full_path=False)[:3]) or "none"
            raise InputError(f"{self._filepath}: no version {path.parent.name}; the latest there are {there}")
        return super().load()

    def _is_whole(self, path: str) -> bool:
        return all(self._files.exists(f"{path}/{name}") for name in (CARD, WEIGHTS))

    def _read(self, path: Path) -> Detector:
        return Detector(load_method(path, weights=self._weights), device="cpu", weights=self._weights)

    def _release(self) -> None:
        super()._release()
        self._held = None

    def _write(self, data: NoReturn, path: Path) -> None:
        raise DatasetError("Detectors are written by trainings")


class PredictionsDataset(AbstractDataset[NoReturn, PredictionStore]):
    """The folder that predictions go to. Loads as a store, which the step fills.

    Args:
        path: the folder.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = local_path(path, "it is filled bit by bit")
        self.metadata = metadata

    def load(self) -> PredictionStore:
        """Return the store."""
        return PredictionStore(self._path)

    def save(self, data: NoReturn) -> None:
        """Refuse: predictions are kept by the step that makes them."""
        raise DatasetError("Predictions are kept by the step that makes them")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
