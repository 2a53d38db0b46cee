"""Photographs as users give them: paths, folders, patterns, encoded bytes, PIL images and arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob, has_magic
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from discrepancy.data.layouts.files import is_image, visible
from discrepancy.data.layouts.names import means_litter
from discrepancy.data.reading import read_photograph
from discrepancy.errors import InputError

Images: TypeAlias = Any
"""One photograph or several, in any form that `photographs` takes."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that has not been read yet.

    Attributes:
        name: path of the file, or a number for one that has none.
        read: returns it upright, in mode `L` or `RGB`; gets the number of bits that 16-bit photographs use.
        path: of the file, if there is one.
    """

    name: str
    read: Callable[[int | None], Image.Image] = field(repr=False)
    path: Path | None = None


def photographs(images: Images) -> Iterator[Photograph]:
    """Yield the photographs that are meant, one after the other; none is read yet.

    Args:
        images: a file, a folder (searched with all folders in it) or a pattern such as `photos/*.png`; bytes of an
            encoded file. A PIL image; an array uint8 [h, w], [h, w, 3] or [N, h, w, 3], RGB; or an iterable of these.

    Raises:
        InputError: a file or folder does not exist, a pattern or folder has no photograph, or something else is given.
    """
    given = images if _is_many(images) else [images]
    numbers = map(str, count())  # names of those without a file
    for item in given:
        if isinstance(item, np.ndarray) and item.ndim == 4:
            yield from map(_of_array, item, numbers)
        elif isinstance(item, str | Path):
            yield from map(of_file, files_in(item))
        else:
            yield _single(item, numbers)


def files_in(place: str | Path, *, without: Path | None = None) -> list[Path]:
    """Return the image files that a path means, sorted: a file, all in a folder and below, or those of a pattern.

    Hidden entries, and folders of file managers, are left out. A folder that is called like an image file and holds
    none is returned as if it were one, so that reading it says what is wrong.

    Args:
        place: path of a file or folder, or a pattern with `*`, `?`, `[...]` or `**`.
        without: a folder whose content is left out.

    Raises:
        InputError: nothing is there, or no image file.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        found = list(_below(path, without))
    elif path.exists():
        found = [path]
    elif has_magic(str(path)):
        matching = [Path(match) for match in sorted(glob(str(path), recursive=True))]
        found = [match for match in matching if is_image(match) and not match.is_dir()]
        if without is not None:
            left_out = without.resolve()
            found = [match for match in found if left_out not in match.resolve().parents]
    else:
        raise InputError(f"{place}: there is nothing; expected a photograph, a folder of them, or a pattern")
    if not found:
        raise InputError(f"{place}: no photograph is there; expected files ending in .png, .jpg, .tiff, .bmp or .webp")
    return found


def common_folder(place: str | Path) -> Path:
    """Return the folder that names of files in `place` are relative to."""
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    while has_magic(str(path)) and not path.exists():
        path = path.parent
    return path if path.is_dir() else path.parent


def of_file(path: Path, name: str | None = None) -> Photograph:
    """Return the photograph in a file; its name is the path unless another is given."""
    return Photograph(name or path.as_posix(), lambda bits: read_photograph(path, bits=bits), path)


def _below(folder: Path, without: Path | None) -> Iterator[Path]:
    for entry in visible(folder):
        if entry.is_dir():
            if means_litter(entry.name) or (without is not None and entry.resolve() == without.resolve()):
                continue
            inside = list(_below(entry, without))
            yield from inside or ([entry] if is_image(entry) else [])
        elif is_image(entry):
            yield entry


def _is_many(images: Images) -> bool:
    return isinstance(images, Iterable) and not isinstance(images, str | bytes | Path | np.ndarray | Image.Image)


def _single(item: Any, numbers: Iterator[str]) -> Photograph:
    if isinstance(item, Photograph):
        return item
    if isinstance(item, Image.Image):
        name = getattr(item, "filename", "") or next(numbers)
        return Photograph(name, lambda bits: _eight_bits(item))
    if isinstance(item, bytes | bytearray | memoryview):
        data, name = bytes(item), next(numbers)
        return Photograph(name, lambda bits: read_photograph(Path(name), data, bits=bits))
    if isinstance(item, np.ndarray):
        return _of_array(item, next(numbers))
    raise InputError(
        f"images: a {type(item).__name__} given; expected a path, a folder, bytes of a file, a PIL image or an array"
    )


def _of_array(pixels: np.ndarray, name: str) -> Photograph:
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise InputError(
            f"images: an array {pixels.dtype} {list(pixels.shape)} given; expected uint8 [h, w], [h, w, 3] or "
            "[N, h, w, 3], RGB in 0 to 255"
        )
    return Photograph(name, lambda bits: Image.fromarray(np.ascontiguousarray(pixels)))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a PIL image as the reader of files would give it: its pixels are written and read once more."""
    if image.mode in {"L", "RGB"}:
        return ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if image.mode == "CMYK" else "PNG")
    return read_photograph(Path("image"), buffer.getvalue())
