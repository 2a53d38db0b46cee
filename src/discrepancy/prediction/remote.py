"""Photographs examined by the workers of a Dask scheduler, in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from discrepancy.dask_workers import connected
from discrepancy.detection.storage import load_method
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.job import NamedFile, examine_files
from discrepancy.prediction.output import PictureWriter
from discrepancy.prediction.store import Entry

PIECE: Final = 64
"""Photographs of one task: enough to hide the way to a worker, few enough to be lost with one."""


def examine_on_dask(
    folder: Path,
    digest: str,
    files: Sequence[NamedFile],
    writer: PictureWriter,
    address: str,
    *,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> Iterator[Entry]:
    """Yield the entry of each file as pieces of them are done, in any order; each file has one entry.

    A worker that dies takes its piece along, and the scheduler gives it to another one.

    Args:
        folder: the detector's, seen by all workers at the same path, as are the files and the writer's folder.
        digest: of the detector: what a worker has kept of an earlier one in the same folder is not used.
        files: the files.
        writer: of the pictures.
        address: of the scheduler, `tcp://host:port`.
        weights: location of the frozen network's weights; by default that of the training.
        device: on the workers.
        batch_size: photographs per forward pass.

    Raises:
        InputError: the scheduler does not answer, has no worker, or one that does not see the folder.
        distributed.KilledWorker: a piece whose workers died four times.
    """
    pieces = [files[start : start + PIECE] for start in range(0, len(files), PIECE)]
    with connected(address, writer.folder) as client:
        from distributed import as_completed

        def submit(piece: Sequence[NamedFile]) -> object:
            key = hashlib.sha256(repr((folder, digest, piece, writer)).encode()).hexdigest()
            given = (str(folder), digest, weights, device, list(piece), writer, batch_size)
            return client.submit(_examine_piece, *given, key=f"predict-{key}", pure=False)

        pending = as_completed([submit(piece) for piece in pieces])
        try:
            for future in pending:
                entries = future.result()
                future.release()  # or a result that lies on a dead worker would be computed again
                yield from entries
        except BaseException:
            with suppress(OSError, TimeoutError):
                client.cancel(list(pending.futures))
            raise


def _examine_piece(
    folder: str,
    digest: str,
    weights: str | None,
    device: str,
    files: Sequence[NamedFile],
    writer: PictureWriter,
    batch_size: int,
) -> list[Entry]:
    detector = _loaded(folder, digest, weights, device)
    return list(examine_files(detector, files, writer, batch_size=batch_size))


@lru_cache(maxsize=1)
def _loaded(folder: str, digest: str, weights: str | None, device: str) -> Detector:
    """Return the detector in a folder. A worker process loads it once, and again when its digest has changed."""
    del digest  # part of the key of the cache
    return Detector(load_method(folder, weights=weights), device=device, weights=weights)
