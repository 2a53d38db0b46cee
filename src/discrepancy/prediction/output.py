"""Files that a prediction leaves behind: overlays, raw maps, masks, thumbnails, and the table."""

from __future__ import annotations

import csv
import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from discrepancy.atomic import UNFINISHED, claimed, delete_leftovers, replacing
from discrepancy.data.images import ImageSize
from discrepancy.figures.overlays import binary_picture
from discrepancy.names import LONGEST, shortened
from discrepancy.prediction.results import COLUMNS, Prediction

THUMBNAIL: Final = 240
"""Longest side of a thumbnail, px."""
_JPEG_QUALITY: Final = 90
_JPEG_SIDE: Final = 65_500
"""Longest side that JPEG files can have, px."""


@dataclass(frozen=True)
class PictureWriter:
    """Writes the pictures of each prediction below a folder, under the photograph's name with a further suffix.

    Attributes:
        folder: of all pictures.
        overlays: write `overlays/<name>.jpg`, the outline over the photograph.
        maps: write `maps/<name>.tiff`, the raw map, float32.
        masks: write `masks/<name>.png`, 255 in outlined regions.
        thumbnails: write `thumbnails/<name>.jpg`, the photograph made small.
    """

    folder: Path
    overlays: bool = True
    maps: bool = True
    masks: bool = True
    thumbnails: bool = False

    @contextmanager
    def opened(self) -> Iterator[Callable[[Prediction], None]]:
        """Yield a function that writes the pictures of one photograph, each whole or not at all; threads may share it.

        The function raises `InputError` if the photograph's file has gone meanwhile, and `OSError` if a picture cannot
        be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        delete_leftovers(self.folder)
        with claimed(self.folder / UNFINISHED) as scratch:
            yield partial(self.write, scratch=scratch)

    def write(self, prediction: Prediction, *, scratch: Path) -> None:
        """Write the pictures of one photograph, first to a folder on the same file system; see `opened`."""
        for place, content in self._contents(prediction):
            path = scratch / uuid.uuid4().hex
            path.write_bytes(content)
            target = self.folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)

    def _contents(self, prediction: Prediction) -> Iterator[tuple[str, bytes]]:
        """Yield the place of each picture, and its bytes."""
        name = prediction.name
        if self.overlays or self.thumbnails:
            photograph = prediction.read()
            if self.overlays:
                yield f"overlays/{picture_path(name, '.jpg')}", _jpeg(prediction.drawn_over(photograph))
            if self.thumbnails:
                height, width = thumbnail_size(prediction.size)
                small = photograph.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
                yield f"thumbnails/{picture_path(name, '.jpg')}", _jpeg(small)
        if self.maps:
            yield f"maps/{picture_path(name, '.tiff')}", _encoded(".tiff", prediction.map)
        if self.masks:
            yield f"masks/{picture_path(name, '.png')}", _encoded(".png", binary_picture(prediction.mask))


def thumbnail_size(size: ImageSize) -> ImageSize:
    """Return (height, width) of the thumbnail of a photograph of this (height, width), px."""
    share = min(1.0, THUMBNAIL / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def picture_path(name: str, suffix: str) -> PurePosixPath:
    """Return the path of a photograph's picture: it stays inside its folder, and no part is too long for a file."""
    path = PurePosixPath(f"{name}{suffix}")
    return PurePosixPath(*(shortened(part, LONGEST) for part in path.parts if part not in (path.anchor, "..", ".")))


def write_table(lines: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write the table of predictions as a CSV file, whole or not at all; text in quotes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")


def _jpeg(image: Image.Image) -> bytes:
    if max(image.size) > _JPEG_SIDE:
        image.thumbnail((_JPEG_SIDE, _JPEG_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _encoded(suffix: str, picture: NDArray[Any]) -> bytes:
    _, data = cv2.imencode(suffix, picture)
    return np.asarray(data).tobytes()
