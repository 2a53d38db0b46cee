"""Features on disk: written once per fingerprint, memory-mapped ever after.

A cache is a folder `<root>/<first 16 digits of the fingerprint>` with one `<layer>.npy` [N, h, w, C] per layer. Its
`card.json` lists what the features were made from. The folder is written under another name and renamed when complete,
so one with the right name is a whole cache.

On disk the channels come last: that is how the networks compute them, and it makes every position's features one
contiguous row, as matrix products want them. In memory the arrays have the usual axes [N, C, h, w], as views.

Whatever is found is compared with its card: contents with the fingerprint, files with their sizes, and, once per run,
every byte with its CRC-32. That takes half a second for each GiB besides the reading, which training does anyway. It
tells damage, not forgery.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from discrepancy.atomic import UNFINISHED, claimed, delete_leftovers
from discrepancy.errors import InputError
from discrepancy.features.entry import Features, check_bytes, read_entry, sync_folder, write_entry
from discrepancy.features.recipe import LazyFeatures
from discrepancy.locks import file_lock

__all__ = ["FeatureCache", "Features"]

logger = logging.getLogger(__name__)

_checked: set[tuple[Path, str]] = set()
"""Entries, by folder and fingerprint, of which this process has looked at every byte."""
_LOCK = ".lock"
"""In the cache's folder: held while features get their final name."""


class FeatureCache:
    """The feature caches below one folder.

    Any number of processes may use it at once. Two that write the same features do the work twice, and the first to
    finish wins. What a killed process left half-written is deleted by the next one that writes.

    Example:
        >>> features = FeatureCache(root).get(lazy_features(backbone, images, digests))  # doctest: +SKIP
        >>> mean, std = features.channel_statistics()["blocks.2"]  # doctest: +SKIP
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, lazy: LazyFeatures) -> Path:
        """Return the folder where the features of `lazy` are, or would be."""
        return self.root / lazy.fingerprint[:16]

    def has(self, lazy: LazyFeatures) -> bool:
        """Return whether the features of `lazy` are there and whole; their bytes are not looked at."""
        return self._load(lazy) is not None

    def resolved(self, value: Any) -> Any:
        """Return planned features computed, see `get`, and anything else as it is."""
        return self.get(value) if isinstance(value, LazyFeatures) else value

    def get(self, lazy: LazyFeatures, *, progress: bool = True) -> Features:
        """Return the features of `lazy`, from the cache if every byte is as it was written, or else computed anew.

        Args:
            lazy: what to compute.
            progress: shows a bar over the images (or over the bytes looked at), on a terminal only.

        Raises:
            InputError: the features do not fit on the disk or into float16, or are not finite.
        """
        features = self._found(lazy, warn=True, progress=progress)
        if features is not None:
            logger.info("features: %d images from the cache %s", lazy.count, features.path)
            return features
        path = self.path(lazy)
        logger.info("features: extracting %d images (%s) to %s", lazy.count, ", ".join(lazy.shapes), path)
        try:
            self._make_room(lazy)
            with claimed(self.root / UNFINISHED) as place:
                folder = place / self.path(lazy).name
                folder.mkdir()
                write_entry(lazy, folder, progress=progress)
                return self._publish(lazy, folder)
        except OSError as error:
            raise InputError(f"the features cannot be kept in {self.root}: {error}; expected room to write") from error

    def open(self, fingerprint: str, *, checked: bool = False) -> Features:
        """Return the features with this fingerprint, which must be there: written by `get` before.

        Args:
            fingerprint: 64 hexadecimal digits.
            checked: the process that started this one has looked at every byte. Else this one does, once.

        Raises:
            InputError: they are not there, or damaged.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", str(fingerprint)):
            raise InputError(f"{self.root}: no features are named {fingerprint!r}; expected 64 hexadecimal digits")
        path = self.root / fingerprint[:16]
        _note_use(path)
        try:
            return read_entry(path, fingerprint) if checked else _whole(path, fingerprint)
        except (InputError, OSError) as error:
            raise InputError(f"no such features: {error}, as a run that starts at the beginning writes them") from error

    def _load(self, lazy: LazyFeatures) -> Features | None:
        try:
            return read_entry(self.path(lazy), lazy.fingerprint)
        except InputError:
            return None

    def _found(self, lazy: LazyFeatures, *, warn: bool = False, progress: bool = False) -> Features | None:
        """Return the entry, every byte of which is checked."""
        path = self.path(lazy)
        if not path.exists():
            return None
        try:
            features = _whole(path, lazy.fingerprint, progress=progress, again=True)
        except (InputError, OSError) as error:  # a bad sector, or gone meanwhile
            if warn:
                logger.warning("features: the cache is damaged and will be written anew (%s)", error)
            return None
        _note_use(path)
        return features

    def _make_room(self, lazy: LazyFeatures) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        delete_leftovers(self.root)
        free = shutil.disk_usage(self.root).free
        if free < lazy.nbytes:
            raise InputError(
                f"the features need {lazy.nbytes / 2**30:.1f} GiB, but {self.root} has {free / 2**30:.1f} GiB "
                "free; expected more room, fewer layers, or cache_dtype=float16"
            )

    def _publish(self, lazy: LazyFeatures, folder: Path) -> Features:
        """Give `folder` its final name, unless the same features are there by now; return those that are there."""
        path = self.path(lazy)
        with file_lock(self.root / _LOCK):  # one writer at a time checks, renames and opens
            if (features := self._found(lazy)) is not None:
                return features  # another process was faster
            with suppress(FileNotFoundError):  # the usual case: there is nothing in the way
                path.rename(folder.with_name("damaged"))
            folder.rename(path)
            sync_folder(self.root)
            features = self._load(lazy)
            _checked.add((path.resolve(), lazy.fingerprint))
        if features is None:
            raise OSError(f"{path}: the features were written, but cannot be read back")
        return features


def _whole(path: Path, fingerprint: str, *, progress: bool = False, again: bool = False) -> Features:
    """Return an entry, every byte of which is checked: by this process once, unless `again`.

    It is opened after that. Else another process that found it damaged, too, could have replaced it meanwhile: the
    bytes that were checked would be those of the new one, the arrays at hand still those of the damaged one.

    Raises:
        InputError: it is not whole.
        OSError: it cannot be read.
    """
    entry = path.resolve(), fingerprint
    if again or entry not in _checked:
        check_bytes(read_entry(path, fingerprint), progress=progress)
        _checked.add(entry)
    return read_entry(path, fingerprint)


def _note_use(entry: Path) -> None:
    """Note the time; a cache that may only be read does not tell when it was used."""
    with suppress(OSError):
        os.utime(entry)
