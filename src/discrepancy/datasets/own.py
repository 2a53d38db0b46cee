"""The base of the datasets that write: whole or not at all, and what was saved is what is loaded."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version

from discrepancy.datasets.origin import Origin, read_note, write_note
from discrepancy.stores import files_of

In = TypeVar("In")
Out = TypeVar("Out")

ORIGIN: Final = "origin.json"
"""In the folder of a version; beside an unversioned file its name comes before it."""


class OwnDataset(AbstractVersionedDataset[In, Out], Generic[In, Out]):
    """A file or folder, written whole or not at all, with its origin beside it.

    After `save`, `load` gives what was saved, whatever other runs write to the same place meanwhile.

    Args:
        filepath: the file or folder: a path, or the fsspec address of a store, `s3://bucket/folder`.
        version: Kedro's.
        credentials: of the store, as Kedro's own datasets take them.
        fs_args: further arguments of fsspec's file system.
        metadata: for Kedro plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._files, path = files_of(filepath, credentials, fs_args)
        self._protocol = self._files.protocol
        super().__init__(path, version, self._is_whole, self._files.glob)
        self.metadata = metadata
        self.origin: Origin | None = None
        self.stale = False

    @abstractmethod
    def _write(self, data: In, path: Path) -> None:
        """Write to a path where nothing is."""

    @abstractmethod
    def _read(self, path: Path) -> Out:
        """Read what `_write` wrote."""

    def _is_whole(self, path: str) -> bool:
        """Return whether a path holds what `_write` wrote."""
        return self._files.exists(path)

    def load(self) -> Out:
        """Read what was saved; before that, what is on disk."""
        with self.local_copy() as path:
            return self._read(path)

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Yield where what `load` reads lies; of a store's, a copy that lasts as long as the block."""
        with self._files.reading(self._get_load_path()) as path:
            yield path

    @property
    def address(self) -> str:
        """Path of what `load` reads, or its address in a store."""
        return self._files.address(self._get_load_path())

    def address_of(self, version: str | None) -> str:
        """Return where a version lies, or will lie: a path, or the address of a store."""
        return self._files.address(self._filepath if version is None else self._get_versioned_path(version))

    def save(self, data: In) -> None:
        """Write."""
        path = self._get_save_path()
        version = self.resolve_save_version()
        if version is None:
            self._replace(data, path)
        else:
            with self._files.replacing(path.parent, last=path.name) as folder:
                folder.mkdir()
                self._write(data, folder / path.name)
                if self.origin is not None:
                    self.origin = self.origin.identified(version)
                    write_note(folder / ORIGIN, self.origin.to_json())
        self.stale = False
        self.use(version)

    def _replace(self, data: In, path: PurePosixPath) -> None:
        """Write without versions, in place of what is there."""
        with self._files.replacing(path) as temporary:
            self._write(data, temporary)

    def found(self) -> Iterator[tuple[str | None, Origin | None]]:
        """Yield what is on disk, the latest first: its version, and its origin where one was kept."""
        if self._version is None:
            return
        for version in self.list_versions(full_path=False):
            yield version, self._origin_at(self._get_versioned_path(version).parent / ORIGIN)

    def _origin_at(self, path: PurePosixPath) -> Origin | None:
        try:
            with self._files.reading(path) as note:
                return Origin.from_json(read_note(note))
        except OSError:
            return None

    def use(self, version: str | None) -> None:
        """Load this version from now on."""
        if self._version is not None and version is not None:
            self._version = Version(version, self.resolve_save_version())

    def _exists(self) -> bool:
        try:
            return not self.stale and self._is_whole(str(self._get_load_path()))
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._files.address(self._filepath), "version": self._version}

    def _release(self) -> None:
        super()._release()
        self._files.forget()


class FileDataset(OwnDataset[In, Out], Generic[In, Out]):
    """A small file. Without versions, what was saved or chosen stays in memory until no step needs it any more."""

    _saved: bytes | None = None

    @abstractmethod
    def _encode(self, data: In) -> bytes:
        """Return the content of the file."""

    @abstractmethod
    def _decode(self, content: bytes) -> Out:
        """Return what `_encode` was given."""

    def load(self) -> Out:
        """Read what was saved; before that, what is on disk."""
        return super().load() if self._saved is None else self._decode(self._saved)

    def _replace(self, data: In, path: PurePosixPath) -> None:
        content = self._encode(data)
        with self._files.replacing(path) as temporary:
            temporary.write_bytes(content)
        self._saved = content
        if self.origin is not None:
            self.origin = self.origin.identified(hashlib.sha256(content).hexdigest())
            with self._files.replacing(_beside(path)) as temporary:
                write_note(temporary, self.origin.to_json())

    def found(self) -> Iterator[tuple[str | None, Origin | None]]:
        """Yield what is on disk, the latest first: its version, and its origin where one was kept."""
        if self._version is not None:
            yield from super().found()
            return
        try:
            with self._files.reading(self._filepath) as path:
                self._saved = path.read_bytes()  # it is this content that the origin is checked for
        except (FileNotFoundError, IsADirectoryError):
            return
        origin = self._origin_at(_beside(self._filepath))
        own = origin is not None and origin.identity == hashlib.sha256(self._saved).hexdigest()
        yield None, origin if own else None

    def _write(self, data: In, path: Path) -> None:
        path.write_bytes(self._encode(data))

    def _read(self, path: Path) -> Out:
        return self._decode(path.read_bytes())

    def _release(self) -> None:
        super()._release()
        self._saved = None


def _beside(path: PurePosixPath) -> PurePosixPath:
    return path.with_name(f"{path.name}.{ORIGIN}")
