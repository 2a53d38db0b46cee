"""Figures as PNG files."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure
from PIL import Image

from discrepancy.datasets.own import FileDataset


class FigureDataset(FileDataset[Figure, np.ndarray]):
    """A matplotlib figure, saved as PNG and loaded as a picture, uint8 [H, W, 3]."""

    def _encode(self, data: Figure) -> bytes:
        buffer = BytesIO()
        data.savefig(buffer, format="png")
        return buffer.getvalue()

    def _decode(self, content: bytes) -> np.ndarray:
        with Image.open(BytesIO(content)) as picture:
            return np.asarray(picture.convert("RGB"))

    def preview(self) -> ImagePreview:
        """Return the picture, for kedro-viz."""
        with self.local_copy() as path:
            return ImagePreview(base64.b64encode(path.read_bytes()).decode())
