"""Many pictures as PNG files, maps as TIFF files, or animations, in one folder."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NoReturn

import cv2
import numpy as np
from tqdm import tqdm

from discrepancy.data.lazy_array import usable_cores
from discrepancy.datasets.own import OwnDataset
from discrepancy.errors import InputError
from discrepancy.names import shortened

NamedPicture = tuple[str, np.ndarray | bytes]

SHAPES = {".png": (np.uint8, "uint8 [H, W] or [H, W, 3]"), ".tiff": (np.float32, "float32 [H, W]")}
"""Data types and shapes of arrays that are encoded, by suffix."""

SUFFIXES = (*SHAPES, ".gif")


class PicturesDataset(OwnDataset[Iterable[NamedPicture], dict[str, str]]):
    """A folder of pictures: written whole or not at all, loaded as paths, or as addresses of a store.

    Names that are longer than the file system allows are shortened, with a digest so that they differ.

    No pictures make an empty folder: it keeps Kedro's versions in step.
    """

    def load(self) -> dict[str, str]:
        """Return where each picture lies, by its name (POSIX path relative to the folder), sorted.

        Nothing is decoded, nor fetched.
        """
        folder = self._get_load_path()
        found = sorted(path for path in self._files.find(folder) if path.suffix in SUFFIXES)
        return {path.relative_to(folder).as_posix(): self._files.address(path) for path in found}

    def _read(self, path: Path) -> NoReturn:
        raise NotImplementedError("pictures are loaded as paths")

    def _write(self, data: Iterable[NamedPicture], path: Path) -> None:
        """Write pictures while they are drawn; few are in memory at a time.

        Args:
            data: file names, relative to the folder, each with what it holds. Names ending in `.png` hold a picture,
                uint8 [H, W] grey or [H, W, 3] RGB; names ending in `.tiff` a map, float32 [H, W].
                Bytes are the content of the file; names ending in `.gif` have no other.
            path: the folder, which is made.
        """
        path.mkdir()
        _write_all(data, path)


def _write_all(pictures: Iterable[NamedPicture], folder: Path) -> None:
    """Write all pictures, some of them at once; the first error ends it."""
    workers = usable_cores()
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool:
        for name, picture in tqdm(pictures, desc="pictures", unit="picture", disable=None):
            if len(waiting) == 2 * workers:
                waiting.popleft().result()
            waiting.append(pool.submit(_write, _inside(folder, name), picture))
        for task in waiting:
            task.result()


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a picture; names that are longer than the file system allows are shortened."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix not in SUFFIXES:
        kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise InputError(f"Picture {name!r} cannot be saved: expected a {kinds} file name inside {folder.parent}")
    most = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    return folder.joinpath(*(shortened(part, most) for part in path.parts))


def _write(path: Path, picture: np.ndarray | bytes) -> None:
    content = picture if isinstance(picture, bytes) else _encoded(path, picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:  # two pictures of one name would be one lost
        file.write(content)


def _encoded(path: Path, picture: np.ndarray) -> bytes:
    if path.suffix not in SHAPES:
        raise ValueError(f"{path.name}: expected bytes, found {picture.dtype} {list(picture.shape)}")
    dtype, shapes = SHAPES[path.suffix]
    grey = picture.ndim == 2
    if picture.dtype != dtype or not (grey or (dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3)):
        raise ValueError(f"{path.name}: expected {shapes}, found {picture.dtype} {list(picture.shape)}")
    # OpenCV's own compression: twice as fast as the levels one can set, the files are a few percent larger.
    _, encoded = cv2.imencode(path.suffix, picture if grey else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()
