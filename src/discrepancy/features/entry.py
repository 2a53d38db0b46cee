"""One entry of the feature cache: written once with checksums, opened with every doubt.

A folder with one `<layer>.npy` [N, h, w, C] per layer and a `card.json`. The card lists what the features were made
from, their statistics, and the CRC-32 of each file: enough to tell damage, not forgery.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from discrepancy.errors import InputError
from discrepancy.features.recipe import CONTENTS, LazyFeatures, Shape, fingerprint_of
from discrepancy.features.statistics import ChannelStatistics
from discrepancy.json_files import read_object
from discrepancy.npy import NpyWriter
from discrepancy.rows import Rows

CARD = "card.json"
_PIECE = 1 << 22  # bytes


class Features(Mapping[str, np.ndarray]):
    """The features of N images: for each layer, in network order, a read-only memory-mapped array [N, C, h, w].

    Attributes:
        fingerprint: that of the lazy features which they were computed from.
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

    def tensors(
        self, rows: Sequence[int] | np.ndarray, layers: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the features of some images: for each layer a tensor [len(rows), C, h, w], channels last in memory.

        They are read from disk, and free to change.

        Args:
            rows: of the images.
            layers: others are not read; None: all.
        """
        index = np.asarray(rows, dtype=np.intp)
        chosen = {layer: array for layer, array in self._arrays.items() if layers is None or layer in layers}
        stored = {layer: array.transpose(0, 2, 3, 1) for layer, array in chosen.items()}
        return {layer: torch.from_numpy(np.asarray(a[index])).permute(0, 3, 1, 2) for layer, a in stored.items()}

    def batches(
        self, rows: Sequence[int], device: torch.device, *, size: int = 16
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the features of many images, `size` images at a time, as `tensors` gives them, on a device."""
        for start in range(0, len(rows), size):
            part = self.tensors(list(rows[start : start + size]))
            yield {layer: values.to(device) for layer, values in part.items()}

    def rows(self, order: Sequence[int] | np.ndarray) -> FeatureRows:
        """Return a view of the features of some images, in the given order."""
        return FeatureRows(self, np.asarray(order, dtype=np.intp))

    def of_images(self, digests: Sequence[str]) -> FeatureRows:
        """Return a view of the features of the images with these digests, in their order.

        Raises:
            InputError: the features are of other images.
        """
        rows = {digest: row for row, digest in enumerate(self.card["ingredients"]["images"])}
        if not set(digests) <= set(rows):
            raise InputError(f"{self.path}: features of other images; expected a run that starts at the beginning")
        return self.rows([rows[digest] for digest in digests])

    def channel_statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return mean [C] and standard deviation [C] (population) per layer over all images and positions, float64.

        They were computed when the features were written. The deviation of a constant channel is 0.
        """
        table = self.card["statistics"]
        return {layer: (np.array(table[layer]["mean"]), np.array(table[layer]["std"])) for layer in self._arrays}


class FeatureRows(Features):
    """The features of some images of an entry, in an order of their own; nothing is copied.

    The statistics stay those of the whole entry: a fold of cross-fitting standardises by them, too.

    Attributes:
        whole: the entry.
        order: its rows, [n].
    """

    def __init__(self, whole: Features, order: np.ndarray) -> None:
        arrays: dict[str, Any] = {layer: Rows(array, order) for layer, array in whole.items()}
        super().__init__(whole.path, whole.card, arrays)
        self.whole = whole
        self.order = order
        self.fingerprint = fingerprint_of({"features": whole.fingerprint, "rows": order.tolist()})

    def tensors(
        self, rows: Sequence[int] | np.ndarray, layers: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the features of some images, as those of the whole entry are returned."""
        return self.whole.tensors(self.order[np.asarray(rows, dtype=np.intp)], layers)

    def of_images(self, digests: Sequence[str]) -> FeatureRows:
        """Return a view of the features of the images with these digests, as the whole entry does."""
        return self.whole.of_images(digests)

    def rows(self, order: Sequence[int] | np.ndarray) -> FeatureRows:
        """Return a view of some of these images, in the given order."""
        return FeatureRows(self.whole, self.order[np.asarray(order, dtype=np.intp)])


class _Crc32:
    """The CRC-32 of the bytes that were taken in."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: memoryview) -> None:
        """Take in more bytes."""
        self.value = zlib.crc32(data, self.value)


def write_entry(lazy: LazyFeatures, folder: Path, *, progress: bool) -> None:
    """Compute features and write them to an empty folder, down to the disk.

    Raises:
        InputError: they are not finite, or do not fit into float16.
        ValueError: the pieces are not what the lazy features say.
    """
    statistics = {layer: ChannelStatistics(shape[1]) for layer, shape in lazy.shapes.items()}
    checksums = {layer: _Crc32() for layer in lazy.shapes}
    with ExitStack() as stack:
        files = {layer: stack.enter_context(_writer(lazy, layer, folder, checksums[layer])) for layer in lazy.shapes}
        bar = stack.enter_context(
            tqdm(total=lazy.count, desc="features", unit="image", disable=None if progress else True)
        )
        for piece in lazy.pieces():
            for layer, maps in piece.items():
                rows = maps.transpose(0, 2, 3, 1)
                _update(statistics[layer], rows, layer, lazy.dtype)
                files[layer].append(rows)
            bar.update(len(maps))
        for file in files.values():
            file.sync()
    _write_card(lazy, folder, statistics, {layer: checksum.value for layer, checksum in checksums.items()})
    sync_folder(folder)


def _writer(lazy: LazyFeatures, layer: str, folder: Path, checksum: _Crc32) -> NpyWriter:
    return NpyWriter(folder / f"{layer}.npy", _stored(lazy.shapes[layer]), np.dtype(lazy.dtype), checksum)


def _stored(shape: Shape) -> Shape:
    """The shape on disk, channels last."""
    count, channels, height, width = shape
    return count, height, width, channels


def _update(table: ChannelStatistics, rows: np.ndarray, layer: str, dtype: str) -> None:
    try:
        for image in rows:
            table.update(image)
    except FloatingPointError as error:
        advice = " or cache_dtype=float32" if dtype == "float16" else ""
        raise InputError(f"{layer}: {error} in {dtype}; expected other weights{advice}") from error


def _write_card(
    lazy: LazyFeatures, folder: Path, statistics: Mapping[str, ChannelStatistics], checksums: Mapping[str, int]
) -> None:
    table = {layer: {"mean": kept.mean.tolist(), "std": kept.std.tolist()} for layer, kept in statistics.items()}
    checks = {"statistics": _statistics_crc(table), "arrays": checksums}
    card = {"fingerprint": lazy.fingerprint, **lazy.contents, "statistics": table, "crc32": checks}
    with (folder / CARD).open("w", encoding="utf-8") as text:
        json.dump(card, text, indent=1)
        text.flush()
        os.fsync(text.fileno())


def read_entry(path: Path, fingerprint: str) -> Features:
    """Open an entry; the bytes of its arrays are not looked at.

    Raises:
        InputError: it is not a whole entry with this fingerprint.
    """
    card = read_object(path / CARD)
    try:
        if {card["fingerprint"], fingerprint_of({key: card[key] for key in CONTENTS})} != {fingerprint}:
            raise ValueError("its card has another fingerprint")
        shapes = {layer: tuple(shape) for layer, shape in card["shapes"].items()}
        _check_statistics(card, shapes)
        if "crc32" in card and set(card["crc32"]["arrays"]) != set(shapes):  # older cards have none
            raise ValueError("its card does not have the CRC-32 of every layer")
        arrays = {layer: _open(path, layer, shape, card["dtype"]) for layer, shape in shapes.items()}
    except Exception as error:  # readers of foreign files raise a dozen types, none of them documented
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).strip().split("\n")[0]
        raise InputError(f"{path}: {(reason or type(error).__name__)[:200]}; expected whole features") from error
    return Features(path, card, arrays)


def check_bytes(features: Features, *, progress: bool) -> None:
    """Compare every byte with what was written; older cards do not say what that was.

    Raises:
        InputError: a file holds other bytes.
    """
    written = features.card.get("crc32", {}).get("arrays", {})
    total = sum(array.nbytes for array in features.values())
    with tqdm(
        total=total, desc="checking features", unit="B", unit_scale=True, disable=None if progress else True
    ) as bar:
        for layer in written:
            file, found = features.path / f"{layer}.npy", 0
            with file.open("rb") as content:
                while piece := content.read(_PIECE):
                    found = zlib.crc32(piece, found)
                    bar.update(len(piece))
            if found != written[layer]:
                raise InputError(
                    f"{file}: holds other bytes than were written; expected those of CRC-32 {written[layer]}"
                )


def _check_statistics(card: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    table = card["statistics"]
    if "crc32" in card and card["crc32"]["statistics"] != _statistics_crc(table):
        raise ValueError("the statistics on its card are not those that were written")
    for layer, shape in shapes.items():
        for name in ("mean", "std"):
            values = np.array(table[layer][name], dtype=np.float64)
            if values.shape != shape[1:2] or not np.isfinite(values).all():
                raise ValueError(f"the {name} of {layer} on its card: expected {shape[1]} finite numbers")


def _statistics_crc(table: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(table, sort_keys=True).encode())


def _open(path: Path, layer: str, shape: Shape, dtype: str) -> np.ndarray:
    file = path / f"{layer}.npy"
    if not file.is_file():
        raise ValueError(f"{file.name} is missing")
    array = np.lib.format.open_memmap(file, mode="r")  # of all that np.load takes, a plain array only
    stored = _stored(shape)
    whole = file.stat().st_size == array.offset + array.nbytes and array.flags.c_contiguous
    if array.shape != stored or array.dtype != dtype or not whole:
        raise ValueError(f"{file.name} has {array.shape} {array.dtype}, expected {stored} {dtype}")
    view: np.ndarray = array.transpose(0, 3, 1, 2)
    return view


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder down to the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system may not know that of folders
                raise
        finally:
            os.close(handle)
