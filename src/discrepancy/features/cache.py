"""Features on disk: written once per fingerprint, memory-mapped ever after.

A cache is a folder `<root>/<first 16 digits of the fingerprint>` with one `<layer>.npy` [N, h, w, C] per layer and a
`card.json` that lists what the features were made from. It is written under another name and renamed when complete,
so a folder with the right name is a whole cache.

On disk the channels come last: that is how the networks compute them, and it makes every position's features one
contiguous row, as matrix products want them. In memory the arrays have the usual axes [N, C, h, w], as views.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from tqdm import tqdm

from discrepancy.errors import InputError
from discrepancy.features.recipe import FeatureRecipe
from discrepancy.features.statistics import ChannelStatistics

try:
    import fcntl
except ImportError:  # not a POSIX system: leftovers of killed runs stay until someone deletes them
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

CARD = "card.json"
_UNFINISHED = ".writing-"
# What reading a missing, truncated or foreign file raises.
_DAMAGES = (OSError, EOFError, ValueError, KeyError, TypeError)


class Features(Mapping[str, np.ndarray]):
    """The features of N images: for each layer, in network order, a read-only memory-mapped array [N, C, h, w].

    Attributes:
        fingerprint: the recipe's.
        path: the folder of the cache.
        card: the content of its card.
    """

    def __init__(self, path: Path, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self.path = path
        self.card = card
        self.fingerprint: str = card["fingerprint"]
        self._arrays = dict(arrays)

    def __getitem__(self, layer: str) -> np.ndarray:
        return self._arrays[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(self._arrays)

    @property
    def count(self) -> int:
        """The number of images."""
        return len(next(iter(self._arrays.values())))

    def tensors(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The features of some images: for each layer a tensor [len(rows), C, h, w], channels last in memory.

        Read from disk, free to change.
        """
        index = np.asarray(rows, dtype=np.intp)
        stored = {layer: array.transpose(0, 2, 3, 1) for layer, array in self._arrays.items()}
        return {layer: torch.from_numpy(np.asarray(a[index])).permute(0, 3, 1, 2) for layer, a in stored.items()}

    def batches(
        self, rows: Sequence[int], device: torch.device, *, size: int = 16
    ) -> Iterator[dict[str, torch.Tensor]]:
        """The features of many images, `size` images at a time, as `tensors` gives them, on a device."""
        for start in range(0, len(rows), size):
            part = self.tensors(list(rows[start : start + size]))
            yield {layer: values.to(device) for layer, values in part.items()}

    def channel_statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean [C] and standard deviation [C] (population) per layer over all images and positions, float64.

        They were computed when the features were written. The deviation of a constant channel is 0.
        """
        table = self.card["statistics"]
        return {layer: (np.array(table[layer]["mean"]), np.array(table[layer]["std"])) for layer in self._arrays}


class FeatureCache:
    """The feature caches below one folder.

    Any number of processes may use it at once. Two that write the same features do the work twice, and the first to
    finish wins. What a killed process left half-written is deleted by the next one that writes.

    Example:
        >>> features = FeatureCache(root).get(feature_recipe(backbone, images, digests))  # doctest: +SKIP
        >>> mean, std = features.channel_statistics()["blocks.2"]  # doctest: +SKIP
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, recipe: FeatureRecipe) -> Path:
        """Where the features of `recipe` are, or would be."""
        return self.root / recipe.fingerprint[:16]

    def has(self, recipe: FeatureRecipe) -> bool:
        """Whether the features of `recipe` are there and whole."""
        return self._load(recipe) is not None

    def get(self, recipe: FeatureRecipe, *, progress: bool = True) -> Features:
        """The features of `recipe`, from the cache, or else computed and written to it.

        Args:
            recipe: what to compute.
            progress: shows a bar over the images, on a terminal only.

        Raises:
            InputError: the features do not fit on the disk or into float16, or are not finite.
        """
        features = self._load(recipe, warn=True)
        if features is not None:
            logger.info("features: %d images from the cache %s", recipe.count, features.path)
            return features
        path = self.path(recipe)
        logger.info("features: extracting %d images (%s) to %s", recipe.count, ", ".join(recipe.shapes), path)
        self._make_room(recipe)
        with self._unfinished(recipe) as folder:
            _write(recipe, folder, progress=progress)
            return self._publish(recipe, folder)

    def open(self, fingerprint: str) -> Features:
        """The features with this fingerprint, which must be there: written by `get` before.

        Raises:
            InputError: they are not there, or damaged.
        """
        path = self.root / fingerprint[:16]
        try:
            return _read(path, fingerprint)
        except _DAMAGES as error:
            raise InputError(f"{path}: no such features ({error}); expected a run that extracts them first") from error

    def _load(self, recipe: FeatureRecipe, *, warn: bool = False) -> Features | None:
        path = self.path(recipe)
        if not path.exists():
            return None
        try:
            return _read(path, recipe.fingerprint)
        except _DAMAGES as error:
            if warn:
                logger.warning("features: the cache %s is damaged (%s) and will be written anew", path, error)
            return None

    def _make_room(self, recipe: FeatureRecipe) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the features cannot be kept in {self.root}: {error}") from error
        for leftover in self.root.glob(f"{_UNFINISHED}*"):
            with suppress(OSError), _locked(leftover, wait=False):  # a living process holds the lock of its own
                logger.info("features: deleting what an interrupted run left behind in %s", leftover)
                shutil.rmtree(leftover)
        free = shutil.disk_usage(self.root).free
        if free < recipe.nbytes:
            raise InputError(
                f"the features need {recipe.nbytes / 2**30:.1f} GiB, but {self.root} has {free / 2**30:.1f} GiB "
                "free; expected more room, fewer layers, or cache_dtype=float16"
            )

    @contextmanager
    def _unfinished(self, recipe: FeatureRecipe) -> Iterator[Path]:
        """A locked folder to write in, deleted afterwards unless it was renamed. The lock ends with the process."""
        with ExitStack() as stack:
            while True:
                folder = self.root / f"{_UNFINISHED}{recipe.fingerprint[:16]}-{uuid.uuid4().hex[:8]}"
                folder.mkdir()
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                with suppress(FileNotFoundError):
                    stack.enter_context(_locked(folder, wait=True))
                    if folder.exists():  # else another process took it for a leftover, just before the lock
                        break
            yield folder

    def _publish(self, recipe: FeatureRecipe, folder: Path) -> Features:
        """Gives `folder` its final name, unless the same features are there by now; returns those that are there."""
        path = self.path(recipe)
        with _locked(self.root, wait=True):  # one writer at a time checks, renames and opens
            if (features := self._load(recipe)) is not None:
                return features  # another process was faster
            damaged = folder.with_name(f"{folder.name}-damaged")
            with suppress(FileNotFoundError):  # the usual case: there is nothing in the way
                path.rename(damaged)
            folder.rename(path)
            shutil.rmtree(damaged, ignore_errors=True)
            _sync(self.root)
            features = self._load(recipe)
        if features is None:
            raise OSError(f"{path}: the features were written, but cannot be read back")
        return features


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Holds a lock on `folder`; where there are no locks, goes on without one if it was ready to wait.

    Raises:
        OSError: the folder does not exist, or (without `wait`) the lock cannot be had now.
    """
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if handle is not None:
            with suppress(OSError) if wait else nullcontext():
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif not wait:
            raise OSError("this system has no locks")
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _write(recipe: FeatureRecipe, folder: Path, *, progress: bool) -> None:
    statistics = {layer: ChannelStatistics(shape[1]) for layer, shape in recipe.shapes.items()}
    with ExitStack() as stack:
        # Plain writes and no memory map: a full disk is then an error, and nothing stays in this process's memory.
        files = {layer: stack.enter_context((folder / f"{layer}.npy").open("wb")) for layer in recipe.shapes}
        for layer, file in files.items():
            count, channels, height, width = recipe.shapes[layer]
            header = {"descr": np.dtype(recipe.dtype).str, "fortran_order": False}
            header["shape"] = (count, height, width, channels)
            np.lib.format.write_array_header_1_0(file, header)
        bar = stack.enter_context(
            tqdm(total=recipe.count, desc="features", unit="image", disable=None if progress else True)
        )
        for batch in recipe.batches():
            for layer, file in files.items():
                _append(file, batch[layer], statistics[layer], layer=layer, recipe=recipe)
            bar.update(len(batch[layer]))
        for layer, file in files.items():
            if statistics[layer].count != recipe.count * prod(recipe.shapes[layer][2:]):
                raise ValueError(f"{layer}: the recipe's batches do not add up to {recipe.count} images")
            file.flush()
            os.fsync(file.fileno())
    card = {
        "fingerprint": recipe.fingerprint,
        **recipe.contents,
        "statistics": {
            layer: {"mean": table.mean.tolist(), "std": table.std.tolist()} for layer, table in statistics.items()
        },
    }
    with (folder / CARD).open("w", encoding="utf-8") as text:
        json.dump(card, text, indent=1)
        text.flush()
        os.fsync(text.fileno())
    _sync(folder)


def _append(file: BinaryIO, maps: np.ndarray, table: ChannelStatistics, *, layer: str, recipe: FeatureRecipe) -> None:
    if maps.shape[1:] != recipe.shapes[layer][1:] or maps.dtype != recipe.dtype:
        raise ValueError(f"{layer}: expected {recipe.shapes[layer]} {recipe.dtype}, found {maps.shape} {maps.dtype}")
    rows = maps.transpose(0, 2, 3, 1)
    try:
        for image in rows:
            table.update(image)
    except FloatingPointError as error:
        advice = " or cache_dtype=float32" if recipe.dtype == "float16" else ""
        raise InputError(f"{layer}: {error} in {recipe.dtype}; expected other weights{advice}") from error
    file.write(np.ascontiguousarray(rows).data)


def _read(path: Path, fingerprint: str) -> Features:
    """Opens a cache folder. Raises one of `_DAMAGES` if it is not a whole cache with this fingerprint."""
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    if card["fingerprint"] != fingerprint:
        raise ValueError("its card has another fingerprint")
    shapes = {layer: tuple(shape) for layer, shape in card["shapes"].items()}
    return Features(path, card, {layer: _open(path, layer, shape, card["dtype"]) for layer, shape in shapes.items()})


def _open(path: Path, layer: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    file = path / f"{layer}.npy"
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    count, channels, height, width = shape
    stored = (count, height, width, channels)
    if array.shape != stored or array.dtype != dtype or file.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{file.name} has {array.shape} {array.dtype}, expected {stored} {dtype}")
    view: np.ndarray = array.transpose(0, 3, 1, 2)
    return view


def _sync(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
