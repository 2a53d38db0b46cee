"""`.npy` files: written piece by piece with a checksum, with an error and never a signal where the disk is full."""

from __future__ import annotations

import os
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np


class Checksum(Protocol):
    """Takes in bytes, one after the other, as `hashlib.sha256()` does."""

    def update(self, data: Any, /) -> None:
        """Take in more bytes."""


class NpyWriter:
    """A new `.npy` file of known shape, to which the rows of an array are appended.

    Plain writes and no memory map. What a process has written through a map counts as its memory, and a full disk is
    then no error but a signal that ends it.

    Args:
        path: the file; it must not exist.
        shape: of the whole array.
        dtype: plain numbers, which can be memory-mapped.
        checksum: takes in every byte of the file.

    Raises:
        OSError: the file cannot be made, or (from `append` and `sync` too) the disk is full.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], checksum: Checksum) -> None:
        # No buffer: nothing is left that could fail while the file is closed.
        self._file = FileIO(path, "x")
        self._checksum = checksum
        self._write(memoryview(npy_header(shape, dtype)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Write rows, in the order of the array."""
        self._write(bytes_of(rows))

    def sync(self) -> None:
        """Bring the file down to the disk."""
        os.fsync(self._file.fileno())

    def _write(self, rest: memoryview) -> None:
        self._checksum.update(rest)
        while rest:  # one call may write a part only, as the last one before a disk is full
            rest = rest[self._file.write(rest) :]


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return what a `.npy` file of an array begins with."""
    header = BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


def bytes_of(rows: np.ndarray) -> memoryview:
    """Return the bytes of an array as a `.npy` file holds them; those of a contiguous one are not copied."""
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data


def map_npy(path: Path, *, name: Path | None = None) -> np.ndarray:
    """Map a `.npy` file into memory, read-only.

    Args:
        path: the file.
        name: where it will lie; the array says that it is there.

    Raises:
        OSError: there is no such file.
        ValueError: it is damaged, or holds objects.
    """
    while True:  # until no other run has put its own array under this name meanwhile
        before = path.stat()
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")  # of all that np.load takes, a plain array only
        if same_file(before, path.stat()):
            break
    if isinstance(array, np.memmap):
        array.inode = before.st_ino  # type: ignore[attr-defined]  # by which other processes tell it from another's
        if name is not None:
            array.filename = str(name)
    return array


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether nothing was put in the place of a file, nor written to it, between two looks."""
    return (one.st_ino, one.st_size, one.st_mtime_ns) == (other.st_ino, other.st_size, other.st_mtime_ns)
