"""Figures as PNG files."""

from __future__ import annotations

import base64
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure
from PIL import Image


class FigureDataset(AbstractVersionedDataset[Figure, np.ndarray]):
    """A matplotlib figure, saved as PNG and loaded as a picture, uint8 [H, W, 3].

    Args:
        filepath: the file.
        version: Kedro's.
        metadata: for Kedro plugins.
    """

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=PurePosixPath(filepath), version=version)
        self.metadata = metadata

    def load(self) -> np.ndarray:
        """The picture."""
        with Image.open(Path(self._get_load_path())) as picture:
            return np.asarray(picture.convert("RGB"))

    def save(self, data: Figure) -> None:
        """Draw."""
        path = Path(self._get_save_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        data.savefig(path, format="png")

    def _exists(self) -> bool:
        try:
            return Path(self._get_load_path()).is_file()
        except DatasetError:
            return False

    def preview(self) -> ImagePreview:
        """The picture, for kedro-viz."""
        return ImagePreview(base64.b64encode(Path(self._get_load_path()).read_bytes()).decode())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
