"""An array written to a `.npy` file piece by piece, with an error and never a signal where the disk is full."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np

from discrepancy.data.lazy_array import MAX_CHUNK_BYTES, LazyArray
from discrepancy.errors import InputError


def write_npy(path: Path, data: np.ndarray | LazyArray) -> str:
    """Write an array, or the pieces of one that does not fit in memory, to a new file, down to the disk.

    Plain writes and no memory map: what a process has written through a map counts as its memory, and a full disk is
    then no error but a signal that ends it.

    Args:
        path: the file; it must not exist.
        data: any shape, of a data type that can be memory-mapped.

    Returns:
        sha256 of the file, 64 hexadecimal digits.

    Raises:
        InputError: the disk has no room, or refuses to be written.
        ValueError: the data type holds objects, or the pieces do not fit together.
    """
    if data.dtype.hasobject:
        raise ValueError(f"{path}: {data.dtype} cannot be memory-mapped; expected plain numbers")
    header = _header(data)
    # No buffer: nothing is left that could fail while the file is closed. The pieces are ended before that, so that no
    # thread goes on computing them when the disk is full.
    digest = hashlib.sha256(header)
    with FileIO(path, "x") as file, closing(_pieces(data)) as pieces:
        _append(file, memoryview(header))
        for piece in pieces:
            values = _bytes_of(piece)
            digest.update(values)
            _append(file, values)
        with _refusals(path):
            os.fsync(file.fileno())
    return digest.hexdigest()


def npy_digest(data: np.ndarray | LazyArray) -> str:
    """Return what `write_npy` would, without writing."""
    digest = hashlib.sha256(_header(data))
    for piece in _pieces(data):
        digest.update(_bytes_of(piece))
    return digest.hexdigest()


def _header(data: np.ndarray | LazyArray) -> bytes:
    header = BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(data.dtype), "fortran_order": False, "shape": data.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


def _bytes_of(piece: np.ndarray) -> memoryview:
    return np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data


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


def _pieces(data: np.ndarray | LazyArray) -> Generator[np.ndarray]:
    """The pieces of an array; at most `MAX_CHUNK_BYTES` or one row of one in memory, as a view has to be copied."""
    if isinstance(data, LazyArray):
        yield from data.pieces()
        return
    rows = np.atleast_1d(data)
    length = max(1, MAX_CHUNK_BYTES * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), length):
        yield rows[start : start + length]


def _append(file: FileIO, rest: memoryview) -> None:
    with _refusals(Path(str(file.name))):
        while rest:  # one call may write a part only, as the last one before a disk is full
            rest = rest[file.write(rest) :]


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Says in one line what the system refuses; errors of whoever computes the pieces are not touched."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot be written ({error.strerror}); expected more room or a smaller image_size"
        ) from error
