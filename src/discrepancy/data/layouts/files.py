"""Folder listings shared by the layouts' readers: image suffixes, ignored entries, missing folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from discrepancy.data.layouts.names import Meaning, means_litter
from discrepancy.data.reading import IMAGE_SUFFIXES
from discrepancy.data.samples import FolderScan, join_first
from discrepancy.errors import InputError

_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
_NO_IMAGE: Final = "not an image by its suffix"


def visible(folder: Path, scan: FolderScan | None = None) -> Iterator[Path]:
    """Return the entries of `folder`, sorted by name, without hidden files and the litter of file managers.

    Those left out are noted in `scan` as unneeded.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): expected a readable folder.") from error
    for entry in entries:
        if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
            yield entry
        elif scan is not None:
            scan.unneeded[entry] = "hidden, or of a file manager"


def is_image(path: Path) -> bool:
    """Return whether the suffix, in upper or lower case, is one of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def key(stem: str) -> str:
    """Return the name in composed Unicode: archives packed on macOS hold an umlaut as two characters."""
    return unicodedata.normalize("NFC", stem)


def folders(folder: Path, scan: FolderScan, *, only: str | None = None) -> list[Path]:
    """Return the folders (of defects, or of good parts) in `folder`; all other entries are ignored."""
    found = []
    for entry in visible(folder, scan):
        if entry.is_dir() and means_litter(entry.name):
            scan.ignored[entry] = "of a file manager or an archiver, by its name"
        elif entry.is_dir() and only in {None, entry.name}:
            found.append(entry)
        else:
            scan.ignored[entry] = f"not in {folder.name}/{only or '<defect>'}"
    return found


def images(folder: Path, scan: FolderScan) -> list[Path]:
    """Return the image files directly in `folder`; all other entries are ignored."""
    found = []
    entries = list(visible(folder, scan))
    for entry in entries:
        if entry.is_dir():
            scan.ignored[entry] = "a folder among images"
        elif is_image(entry):
            found.append(entry)
        else:
            scan.ignored[entry] = _NO_IMAGE
    if not entries:
        scan.ignored[folder] = "an empty folder"
    return found


def other_entries(folder: Path, known: Collection[str], scan: FolderScan) -> None:
    """Note what `folder` holds besides the `known` names: folders and images as ignored, other files as unneeded."""
    for entry in visible(folder, scan):
        if entry.name not in known:
            place = scan.ignored if entry.is_dir() or is_image(entry) else scan.unneeded
            place[entry] = "not part of the layout"


def named(folder: Path, means: Meaning) -> list[Path]:
    """Return the folders in `folder` whose names mean this; none if it is not a folder."""
    return [entry for entry in visible(folder) if entry.is_dir() and means(entry.name)] if folder.is_dir() else []


def spelled(folder: Path, name: str, means: Meaning, scan: FolderScan) -> Path:
    """Return the folder in `folder` called `name`, or else the one whose name means the same, which is noted.

    If there is none it is `folder / name`, which does not exist. Raises `InputError` if several could be meant.
    """
    found = named(folder, means)
    exact = folder / name
    if not found or exact in found:
        return exact
    if len(found) > 1:
        listed = join_first(entry.name for entry in found)
        raise InputError(f"In {folder} several folders mean {name!r}: {listed}. Expected one, best called {name}.")
    scan.notes[found[0]] = f"is taken for {name!r}"
    return found[0]


def refuse(folder: Path, scan: FolderScan, words: str) -> None:
    """Note as a fault that a folder cannot be interpreted, whatever it holds."""
    scan.faults[folder] = f"{folder} {words}."
    scan.ignored[folder] = "not clear"


def existing(folder: Path, expected: str) -> Path:
    """Return `folder` if it exists, else raise an `InputError` that names what was expected and what was found."""
    if folder.is_dir():
        return folder
    # The nearest folder that exists says most about what went wrong.
    near = next(parent for parent in folder.parents if parent.is_dir())
    inside = join_first(entry.name for entry in visible(near)) or "nothing"
    raise InputError(f"The folder {folder} does not exist: {expected}. In {near} lies: {inside}.")


def suffixes() -> str:
    """Return the suffixes of images, for messages."""
    return ", ".join(sorted(IMAGE_SUFFIXES))
