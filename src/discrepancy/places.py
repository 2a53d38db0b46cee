"""Checks that a run can write where it is going to, made before any work that would be lost; sizes in words."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from discrepancy.errors import InputError

ROOM: Final = 2**20
"""Bytes that have to be free: a disk that has less is full for every purpose here."""


def check_folders(folders: Iterable[Path]) -> None:
    """Make sure that files can be written in folders that exist, or could be made; nothing is left behind.

    Raises:
        InputError: a folder is a file, cannot be written, or its disk is full; the message names it.
    """
    for folder in dict.fromkeys(_nearest(Path(folder)) for folder in folders):
        _try_writing(folder)


def check_file(path: Path) -> None:
    """Make sure that a file that exists can be changed, or one that does not be made; nothing is changed.

    Raises:
        InputError: it cannot; the message names the file.
    """
    check_folders([path.parent])
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); expected a file that can") from error


def check_database(path: Path) -> None:
    """Make sure that an SQLite database can be read, or one that does not exist be made; nothing is changed.

    Raises:
        InputError: the file is something else, cannot be read, or its folder cannot be written.
    """
    if not path.exists():
        check_folders([path.parent])
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise InputError(f"{path}: {error}; expected MLflow's database, or no file there") from error


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder that exists, or could be made."""
    return shutil.disk_usage(_nearest(folder)).free


def readable_size(nbytes: float) -> str:
    """Return a size in words: `12.0 MiB` or `3.5 GiB`."""
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"


def _nearest(folder: Path) -> Path:
    """Return the folder itself, or else the first of those around it that exists."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return place
        if os.path.lexists(place):
            kind = "a link to nothing" if place.is_symlink() else "a file"
            raise InputError(f"{place}: is {kind}; expected a folder that this run can write to")
    return Path()


def _try_writing(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".room-") as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); expected a folder with write permission and free space"
        ) from error
