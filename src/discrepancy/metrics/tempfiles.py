"""Arrays that are needed for a while and may not fit in memory: in a temporary file that deletes itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from discrepancy.errors import InputError


def spill_to_disk(arrays: Iterable[NDArray], *, nbytes: int, most: int) -> list[NDArray]:
    """Keep arrays to be read again: in memory if they are small together, else in a file, read-only, memory-mapped.

    The file has no name, so the system deletes it with the last of the arrays, also when the process is killed. It
    lies in the system's temporary folder (the environment variable TMPDIR); where that is itself a part of the memory,
    nothing is gained.

    Args:
        arrays: `[n]` each, contiguous, all of one data type; taken one at a time.
        nbytes: the size of all of them.
        most: up to this size they are kept in memory.

    Raises:
        InputError: the temporary folder has no room.
    """
    if nbytes <= most:
        return list(arrays)
    lengths, dtype = [], np.dtype(np.uint8)
    try:
        with tempfile.TemporaryFile() as file:
            # Plain writes and no memory map yet: a full disk is then an error and not the end of the process.
            for array in arrays:
                file.write(array.data)
                lengths.append(len(array))
                dtype = array.dtype
            file.flush()
            stored = np.asarray(np.memmap(file, dtype=dtype, mode="r", shape=(sum(lengths),)))
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: {nbytes / 2**30:.2f} GiB cannot be kept there ({error}); expected more room, or "
            "another folder in the environment variable TMPDIR"
        ) from error
    ends = np.cumsum(lengths)
    return [stored[end - length : end] for end, length in zip(ends, lengths, strict=True)]
