"""Files on this machine, or behind an fsspec address such as `s3://bucket/folder`: one way to write and read either."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any, Final

from discrepancy.atomic import replacing
from discrepancy.errors import InputError

_SCHEME: Final = "://"
_OWN: Final = "file://"
_KEEP: Final = ".keep"


class LocalFiles:
    """Files of this machine's file systems, its network folders among them."""

    protocol = "file"

    @contextmanager
    def replacing(self, target: PurePosixPath, *, last: str = "") -> Iterator[Path]:
        """Yield a path to write to, whose content takes the place of `target`: see `atomic.replacing`."""
        with replacing(Path(target)) as path:
            yield path

    @contextmanager
    def reading(self, path: PurePosixPath) -> Iterator[Path]:
        """Yield the file or folder."""
        yield Path(path)

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder."""
        return Path(path).exists()

    def find(self, folder: PurePosixPath) -> Iterator[PurePosixPath]:
        """Yield every file in a folder and the folders in it."""
        return (PurePosixPath(path) for path in Path(folder).rglob("*") if path.is_file())

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern."""
        return glob(pattern)

    def address(self, path: PurePosixPath) -> str:
        """Return the path as it is typed."""
        return str(path)

    def forget(self) -> None:
        """Do nothing: what the file system holds is asked each time."""


class RemoteFiles:
    """Files of a store that fsspec knows: written to this machine and then put there, fetched before they are read.

    A single file is there whole or not at all, as far as the store puts single objects so (S3, Google Cloud Storage
    and Azure do). No store does so for folders: a process that is killed meanwhile leaves some of the files.

    Args:
        files: of fsspec.
    """

    def __init__(self, files: Any) -> None:
        self._files = files
        self.protocol = files.protocol if isinstance(files.protocol, str) else files.protocol[0]

    @contextmanager
    def replacing(self, target: PurePosixPath, *, last: str = "") -> Iterator[Path]:
        """Yield a path on this machine, whose content is put in the place of `target` if the block ends well.

        Args:
            target: a file or folder of the store.
            last: the file or folder in it by which others find it: it is put there when everything else is.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / target.name
            yield path
            if path.is_file():
                self._put(path, target)
                return
            if self._files.exists(str(target)):
                self._files.rm(str(target), recursive=True)
            _keep_empty_folders(path)
            found = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
            for file in sorted(found, key=lambda file: file.parts[0] == last):
                self._put(path / file, target / file.as_posix())

    def _put(self, file: Path, target: PurePosixPath) -> None:
        self._files.makedirs(str(target.parent), exist_ok=True)
        self._files.put_file(str(file), str(target))

    @contextmanager
    def reading(self, path: PurePosixPath) -> Iterator[Path]:
        """Yield a copy on this machine, which lasts as long as the block.

        Raises:
            FileNotFoundError: there is neither a file nor a folder.
        """
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            if self._files.isfile(str(path)):
                self._files.get_file(str(path), str(copy))
            elif self._files.isdir(str(path)):
                copy.mkdir()
                for file in self.find(path):
                    local = copy / file.relative_to(self._plain(path))
                    local.parent.mkdir(parents=True, exist_ok=True)
                    self._files.get_file(str(file), str(local))
            else:
                raise FileNotFoundError(f"{self.address(path)}: there is no such file or folder")
            yield copy

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder."""
        return bool(self._files.exists(path))

    def find(self, folder: PurePosixPath) -> Iterator[PurePosixPath]:
        """Yield every file in a folder and the folders in it."""
        return (PurePosixPath(path) for path in self._files.find(str(folder)))

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern."""
        return list(self._files.glob(pattern))

    def address(self, path: PurePosixPath) -> str:
        """Return the path with the protocol before it."""
        return str(self._files.unstrip_protocol(str(path)))

    def forget(self) -> None:
        """Ask the store again for what it holds."""
        self._files.invalidate_cache()

    def _plain(self, path: PurePosixPath) -> str:
        return str(self._files._strip_protocol(str(path)))


Files = LocalFiles | RemoteFiles


def files_of(
    filepath: str, credentials: Mapping[str, Any] | None = None, fs_args: Mapping[str, Any] | None = None
) -> tuple[Files, PurePosixPath]:
    """Return where a path or an fsspec address leads: the file system, and the path in it.

    Args:
        filepath: a path on this machine, or `<protocol>://...`.
        credentials: of the store: arguments of its fsspec file system, as Kedro's datasets take them.
        fs_args: further arguments of that file system.

    Raises:
        InputError: the protocol is not known, cannot be written, or its library is not installed.
    """
    if _is_local(filepath):
        return LocalFiles(), PurePosixPath(filepath.removeprefix(_OWN))
    from fsspec.core import url_to_fs

    if filepath.startswith(("http://", "https://")):
        raise InputError(
            f"{filepath}: cannot be written; expected a path, or the address of a store: s3://, gs://, ..."
        )
    try:
        files, path = url_to_fs(filepath, **(credentials or {}), **(fs_args or {}))
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{filepath}: {error}; expected a path, or the address of a store that fsspec knows"
        ) from error
    return RemoteFiles(files), PurePosixPath(path)


def local_path(filepath: str, why: str) -> Path:
    """Return a path on this machine.

    Args:
        filepath: the path.
        why: it has to be one, for the message.

    Raises:
        InputError: it is the address of a store.
    """
    if not _is_local(filepath):
        raise InputError(f"{filepath}: {why}; expected a path on this machine or on a network folder")
    return Path(filepath.removeprefix(_OWN))


def _keep_empty_folders(folder: Path) -> None:
    """Put a file into each, as stores have no folders without one."""
    for found in [folder, *folder.rglob("*")]:
        if found.is_dir() and not any(found.iterdir()):
            (found / _KEEP).touch()


def _is_local(filepath: str) -> bool:
    return _SCHEME not in filepath or filepath.startswith(_OWN)
