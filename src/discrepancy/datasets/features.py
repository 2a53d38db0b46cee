"""Features in the fingerprinted cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedro_datasets._typing import JSONPreview

from discrepancy.datasets.own import FileDataset
from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.recipe import LazyFeatures
from discrepancy.json_files import parse_object
from discrepancy.stores import local_path


class FeaturesDataset(FileDataset[LazyFeatures, Features]):
    """Lazy features, computed when saved unless the cache holds them; a small file remembers which entry it was.

    Args:
        filepath: the small file, JSON.
        path: folder of the cache, shared by all categories and methods.
        metadata: for Kedro plugins.
    """

    def __init__(self, *, filepath: str, path: str, metadata: dict[str, Any] | None = None) -> None:
        why = "features are read memory-mapped, which no store allows"
        super().__init__(filepath=str(local_path(filepath, why)), metadata=metadata)
        self._cache = local_path(path, why)

    @property
    def cache(self) -> Path:
        """Folder of the cache."""
        return self._cache

    def _encode(self, data: LazyFeatures) -> bytes:
        """Extract, or find in the cache."""
        if not isinstance(data, LazyFeatures):
            raise InputError(f"{self._filepath}: {type(data).__name__} given; expected a LazyFeatures")
        features = FeatureCache(self._cache).get(data)
        entry = {"fingerprint": features.fingerprint, "folder": features.path.name, "images": features.count}
        entry |= {"layers": {layer: list(features[layer].shape) for layer in features.layers}}
        return f"{json.dumps(entry, indent=2)}\n".encode()

    def _decode(self, content: bytes) -> Features:
        """Open the features, memory-mapped."""
        return FeatureCache(self._cache).open(str(self._entry(content)["fingerprint"]))

    def _exists(self) -> bool:
        if not super()._exists():
            return False
        try:
            entry = self._entry(Path(self._filepath).read_bytes())
        except InputError:
            return False
        return (self._cache / str(entry["folder"])).is_dir()

    def _entry(self, content: bytes) -> dict[str, Any]:
        entry = parse_object(content, str(self._filepath))
        if not {"fingerprint", "folder"} <= set(entry):
            raise InputError(f"{self._filepath}: names no features; expected a run that extracts them first")
        return entry

    def preview(self) -> JSONPreview:
        """Return fingerprint, layers and shapes, for kedro-viz."""
        return JSONPreview(Path(self._filepath).read_text(encoding="utf-8"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "cache": str(self._cache)}
