"""An array, computed or not yet, as one `.npy` file: written piece by piece, or only digested."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from discrepancy.data.lazy_array import MAX_CHUNK_BYTES, LazyArray
from discrepancy.errors import InputError
from discrepancy.npy import NpyWriter, bytes_of, npy_header


def write_npy(path: Path, data: np.ndarray | LazyArray) -> str:
    """Write an array, or the pieces of one that does not fit in memory, to a new file, down to the disk.

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
    digest = hashlib.sha256()
    with _refusals(path):
        file = NpyWriter(path, data.shape, data.dtype, digest)
    # The pieces are ended before the file is closed, so that no thread goes on computing them when the disk is full.
    with file, closing(_pieces(data)) as pieces:
        for piece in pieces:
            with _refusals(path):
                file.append(piece)
        with _refusals(path):
            file.sync()
    return digest.hexdigest()


def npy_digest(data: np.ndarray | LazyArray) -> str:
    """Return what `write_npy` would, without writing."""
    digest = hashlib.sha256(npy_header(data.shape, data.dtype))
    for piece in _pieces(data):
        digest.update(bytes_of(piece))
    return digest.hexdigest()


def _pieces(data: np.ndarray | LazyArray) -> Generator[np.ndarray]:
    """The pieces of an array; at most `MAX_CHUNK_BYTES` or one row of one in memory, as a view has to be copied."""
    if isinstance(data, LazyArray):
        yield from data.pieces()
        return
    rows = np.atleast_1d(data)
    length = max(1, MAX_CHUNK_BYTES * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), length):
        yield rows[start : start + length]


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Say in one line what the system refuses; errors of whoever computes the pieces are not touched."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot be written ({error.strerror}); expected more room or a smaller image_size"
        ) from error
