"""Features in the fingerprinted cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.recipe import FeatureRecipe


class FeaturesDataset(AbstractDataset[FeatureRecipe, Features]):
    """Saving a recipe computes what the cache does not hold yet; a small file remembers which entry it was.

    Args:
        filepath: the small file, JSON.
        path: folder of the cache, shared by all categories and methods.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self._cache = Path(path)
        self.metadata = metadata

    def load(self) -> Features:
        """The features, memory-mapped."""
        entry = json.loads(self._filepath.read_text(encoding="utf-8"))
        return FeatureCache(self._cache).open(entry["fingerprint"])

    def save(self, data: FeatureRecipe) -> None:
        """Extract, or find in the cache."""
        if not isinstance(data, FeatureRecipe):
            raise InputError(f"{self._filepath}: {type(data).__name__} given; expected a FeatureRecipe")
        features = FeatureCache(self._cache).get(data)
        entry = {"fingerprint": features.fingerprint, "folder": features.path.name, "images": features.count}
        entry |= {"layers": {layer: list(features[layer].shape) for layer in features.layers}}
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._filepath.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self._filepath)

    def _exists(self) -> bool:
        if not self._filepath.is_file():
            return False
        entry = json.loads(self._filepath.read_text(encoding="utf-8"))
        return (self._cache / entry["folder"]).is_dir()

    def preview(self) -> JSONPreview:
        """Fingerprint, layers and shapes, for kedro-viz."""
        return JSONPreview(self._filepath.read_text(encoding="utf-8"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "cache": str(self._cache)}
