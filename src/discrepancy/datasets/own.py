"""The base of the datasets that write: whole or not at all, and what was saved is what is loaded."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version

from discrepancy.atomic import replacing
from discrepancy.datasets.origin import Origin, read_note, write_note

In = TypeVar("In")
Out = TypeVar("Out")

ORIGIN: Final = "origin.json"
"""In the folder of a version; beside an unversioned file its name comes before it."""


class OwnDataset(AbstractVersionedDataset[In, Out], Generic[In, Out]):
    """A file or folder, written whole or not at all, with its origin beside it.

    After `save`, `load` gives what was saved, whatever other runs write to the same place meanwhile.

    Args:
        filepath: the file or folder.
        version: Kedro's.
        metadata: for Kedro plugins.
        exists_function: whether a path holds what this dataset writes.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
        exists_function: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(filepath), version, exists_function)
        self.metadata = metadata
        self.origin: Origin | None = None
        self.stale = False

    @abstractmethod
    def _write(self, data: In, path: Path) -> None:
        """Write to a path where nothing is."""

    @abstractmethod
    def _read(self, path: Path) -> Out:
        """Read what `_write` wrote."""

    def load(self) -> Out:
        """Read what was saved; before that, what is on disk."""
        return self._read(Path(self._get_load_path()))

    def save(self, data: In) -> None:
        """Write."""
        path = Path(self._get_save_path())
        version = self.resolve_save_version()
        if version is None:
            self._replace(data, path)
        else:
            with replacing(path.parent) as folder:
                folder.mkdir()
                self._write(data, folder / path.name)
                if self.origin is not None:
                    self.origin = self.origin.identified(version)
                    write_note(folder / ORIGIN, self.origin.to_json())
        self.stale = False
        self.use(version)

    def _replace(self, data: In, path: Path) -> None:
        """Write without versions, in place of what is there."""
        with replacing(path) as temporary:
            self._write(data, temporary)

    def found(self) -> Iterator[tuple[str | None, Origin | None]]:
        """Yield what is on disk, the latest first: its version, and its origin where one was kept."""
        if self._version is None:
            return
        for version in self.list_versions(full_path=False):
            folder = Path(self._get_versioned_path(version)).parent
            yield version, Origin.from_json(read_note(folder / ORIGIN))

    def use(self, version: str | None) -> None:
        """Load this version from now on."""
        if self._version is not None and version is not None:
            self._version = Version(version, self.resolve_save_version())

    def _exists(self) -> bool:
        try:
            return not self.stale and self._exists_function(str(self._get_load_path()))
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


class FileDataset(OwnDataset[In, Out], Generic[In, Out]):
    """A small file. Without versions, what was saved or chosen stays in memory until no step needs it any more."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._saved: bytes | None = None

    @abstractmethod
    def _encode(self, data: In) -> bytes:
        """Return the content of the file."""

    @abstractmethod
    def _decode(self, content: bytes) -> Out:
        """Return what `_encode` was given."""

    def load(self) -> Out:
        """Read what was saved; before that, what is on disk."""
        if self._saved is not None:
            return self._decode(self._saved)
        return self._read(Path(self._get_load_path()))

    def _replace(self, data: In, path: Path) -> None:
        content = self._encode(data)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        self._saved = content
        if self.origin is not None:
            self.origin = self.origin.identified(hashlib.sha256(content).hexdigest())
            write_note(_beside(path), self.origin.to_json())

    def found(self) -> Iterator[tuple[str | None, Origin | None]]:
        """Yield what is on disk, the latest first: its version, and its origin where one was kept."""
        if self._version is not None:
            yield from super().found()
            return
        path = Path(self._filepath)
        if not path.is_file():
            return
        self._saved = path.read_bytes()  # it is this content that the origin is checked for
        origin = Origin.from_json(read_note(_beside(path)))
        own = origin is not None and origin.identity == hashlib.sha256(self._saved).hexdigest()
        yield None, origin if own else None

    def _write(self, data: In, path: Path) -> None:
        path.write_bytes(self._encode(data))

    def _read(self, path: Path) -> Out:
        return self._decode(path.read_bytes())

    def _release(self) -> None:
        super()._release()
        self._saved = None


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{ORIGIN}")
