"""Examination of files: pictures written, and an entry of the table for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from discrepancy.errors import InputError
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.output import PictureWriter, thumbnail_size
from discrepancy.prediction.results import Prediction, Unreadable
from discrepancy.prediction.sources import of_file
from discrepancy.prediction.store import Entry


class NamedFile(NamedTuple):
    """A file to be examined: its name in the table, its path, and its stamp when it was listed."""

    name: str
    path: Path
    stamp: tuple[int, int]


def examine_files(
    detector: Detector,
    files: Sequence[NamedFile],
    writer: PictureWriter,
    *,
    batch_size: int = 16,
    workers: int | None = None,
) -> Iterator[Entry]:
    """Yield the entry of each file, in their order, once its pictures are written.

    Args:
        detector: the detector.
        files: the files.
        writer: of the pictures.
        batch_size: photographs per forward pass.
        workers: threads besides the network's; by default one per usable core.

    Raises:
        InputError: a GPU's memory is too small for one image.
        OSError: a picture cannot be written.
    """
    stamps = {file.name: file.stamp for file in files}

    def finish(result: Prediction | Unreadable, write: Callable[[Prediction], None]) -> Entry:
        stamp = stamps[result.name]
        if isinstance(result, Prediction):
            try:
                write(result)
            except InputError as error:  # the file has gone since it was read
                result = Unreadable(result.name, str(error))
        if isinstance(result, Unreadable):
            return Entry(result.name, stamp, result.line())
        size = thumbnail_size(result.size)
        return Entry(result.name, stamp, result.line(), outline_path(result.mask, size), (size[1], size[0]))

    photographs = (of_file(file.path, file.name) for file in files)
    with writer.opened() as write:
        yield from detector.examine(photographs, partial(finish, write=write), batch_size=batch_size, workers=workers)


def outline_path(mask: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """Return the outline of a mask [h, w] as an SVG path, in pixels of a picture of the given (height, width)."""
    if not mask.any():
        return ""
    scale = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for line in lines:
        points = ((line[:, 0] + 0.5) * scale).astype(np.float32)
        corners = cv2.approxPolyDP(points[:, None], 0.6, True)[:, 0]
        parts.append("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in corners) + "Z")
    return "".join(parts)
