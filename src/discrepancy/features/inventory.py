"""The entries of a feature cache with their sizes and times of last use, and their deletion."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from discrepancy.atomic import UNFINISHED, claimed
from discrepancy.errors import InputError
from discrepancy.features.entry import CARD
from discrepancy.json_files import read_object

ENTRY: Final = re.compile(r"[0-9a-f]{16}")
"""Name of an entry's folder."""
DAY: Final = 86400.0
"""Seconds."""


@dataclass(frozen=True)
class StoredEntry:
    """An entry of a feature cache, as it lies on disk.

    Attributes:
        folder: of the entry.
        nbytes: size of all its files.
        images: number of images; 0 if its card cannot be read.
        description: what the features are of, in words.
        used: when it was written or last taken, seconds since 1970.
    """

    folder: Path
    nbytes: int
    images: int
    description: str
    used: float

    @property
    def name(self) -> str:
        """Name of the folder, the first 16 digits of the fingerprint."""
        return self.folder.name

    @property
    def days(self) -> float:
        """Days since it was last used."""
        return max(0.0, time.time() - self.used) / DAY


def stored_entries(root: Path) -> list[StoredEntry]:
    """Return the entries of the feature cache in a folder, most recently used first; damaged ones too."""
    found = []
    for folder in root.glob("*"):
        if ENTRY.fullmatch(folder.name) and folder.is_dir():
            with suppress(FileNotFoundError):  # deleted by another process meanwhile
                found.append(_stored(folder))
    return sorted(found, key=lambda entry: (-entry.used, entry.name))


def drop_entries(entries: Sequence[StoredEntry]) -> None:
    """Delete entries: each is moved away whole, so that nobody can meet a part of one.

    Raises:
        InputError: one cannot be deleted.
    """
    for entry in entries:
        try:
            with claimed(entry.folder.with_name(UNFINISHED)) as place, suppress(FileNotFoundError):
                entry.folder.rename(place / entry.name)
        except OSError as error:
            raise InputError(
                f"{entry.folder}: cannot be deleted ({error.strerror}); expected a writable folder"
            ) from error


def chosen_entries(entries: Sequence[StoredEntry], names: Sequence[str]) -> list[StoredEntry]:
    """Return the entries with these names, or beginnings of names that fit a single entry.

    Raises:
        InputError: a name fits none, or several.
    """
    chosen = []
    for name in names:
        fitting = [entry for entry in entries if entry.name.startswith(name)]
        if len(fitting) != 1:
            known = ", ".join(entry.name for entry in entries) or "none: the cache is empty"
            what = "fits several entries" if fitting else "is no entry of the feature cache"
            raise InputError(f"{name!r} {what}; expected one of {known}")
        chosen += fitting
    return list(dict.fromkeys(chosen))


def _stored(folder: Path) -> StoredEntry:
    sizes = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
    try:
        card = read_object(folder / CARD)
        images = int(next(iter(card["shapes"].values()))[0])
        description = _description(card)
    except (InputError, LookupError, StopIteration, TypeError, ValueError, AttributeError):
        images, description = 0, "damaged: its card cannot be read"
    return StoredEntry(folder, sum(sizes), images, description, folder.stat().st_mtime)


def _description(card: Mapping[str, Any]) -> str:
    made = card["ingredients"]
    if "backbone" in made:
        height, width = made["image_size"]
        kind = "" if made["reduction"] == "none" else ", " + _short(made["reduction"])
        what = f"{made['backbone']} {'+'.join(made['layers'])}, {height}x{width} px{kind}"
    elif "reduction_of" in made:
        what = f"made from {made['reduction_of'][:16]}: {_short(made['reduction'])}"
    elif "mean_of" in made:
        what = f"mean of {made['first']} images"
    else:
        what = "features of another kind"
    return f"{what}, {card['dtype']}"


def _short(reduction: Mapping[str, Any]) -> str:
    return " ".join(name.replace("_", " ") for name in reduction)
