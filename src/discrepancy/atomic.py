"""Files and folders that are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from discrepancy.errors import InputError
from discrepancy.locks import native_lock

logger = logging.getLogger(__name__)

UNFINISHED = ".unfinished-"
"""Begins the names of folders in which something is being written."""
REPLACED = "replaced"
"""In such a folder: what stood in the place of a folder that is being written."""
TRIES = 10
CLAIMING = ".claiming-"
"""Begins the names of folders in the instant before they are locked."""
LONG = 60.0
"""Seconds that are longer than this instant."""
LOCK = "lock"
"""A file in the folder of a living process."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to, whose content takes the place of `target` when the block ends without an error.

    A killed process leaves `target` as it was. What it had half written is deleted by the next one that writes beside
    it; the lock that tells the two apart ends with its process, on network folders too.

    Args:
        target: a file or a folder, which may exist.

    Yields:
        A path on the same file system, of the target's name. Nothing is there yet.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
        FileNotFoundError: the block wrote nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    delete_leftovers(target.parent)
    with claimed(target.with_name(UNFINISHED)) as folder:
        path = folder / target.name
        yield path
        if path.is_dir():
            _replace_folder(path, target, folder / REPLACED)
        else:
            sync_file(path)
            os.replace(path, target)


def check_replaceable(folder: Path, own: Collection[str], *, what: str) -> None:
    """Refuse to replace a folder that holds anything else than an earlier version of what is to be written.

    Args:
        folder: need not exist.
        own: names of the files that every version may have.
        what: is to be written, for the message.

    Raises:
        InputError: something else lies there; it would be deleted.
    """
    if not folder.is_dir():
        return
    if others := sorted(entry.name for entry in folder.iterdir() if entry.name not in own):
        raise InputError(
            f"{folder}: holds {others[0]!r}, which {what} in its place would delete; expected an empty or new folder, "
            "or an earlier version"
        )


def delete_leftovers(parent: Path) -> None:
    """Delete what killed processes had half written of the files and folders in a folder."""
    for found in parent.glob(f"{CLAIMING}*"):
        if _age(found) > LONG:  # killed in the instant before it had its name
            shutil.rmtree(found, ignore_errors=True)
    for found in parent.glob(f"{UNFINISHED}*"):
        with abandoned(found) as folder:
            if folder is None:
                continue
            for old in (folder / REPLACED).glob("*"):
                if not os.path.lexists(parent / old.name):  # killed before the new one was in its place
                    os.rename(old, parent / old.name)
            shutil.rmtree(folder, ignore_errors=True)


def _replace_folder(fresh: Path, target: Path, place: Path) -> None:
    """Put a folder into the place of another, which is kept in a folder of its own meanwhile."""
    for path in fresh.iterdir():
        if path.is_file():
            sync_file(path)
    for attempt in range(TRIES):
        try:
            if target.is_dir():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                os.rename(target, place / target.name)
            os.rename(fresh, target)
            return
        except OSError:  # another process has put its own there meanwhile
            if attempt + 1 == TRIES:
                raise


@contextmanager
def abandoned(folder: Path) -> Iterator[Path | None]:
    """Yield a folder that `claimed` made if its process is gone, and None if that lives, or the folder has gone."""
    lock = native_lock(folder / LOCK)
    try:
        lock.acquire()
    except (Timeout, OSError):
        yield None
        return
    try:
        yield folder
    finally:
        lock.release()


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Make a folder whose name begins like this, and hold it until the block, or this process, ends; then delete it.

    It gets its name once its lock is held: whoever finds the name finds it locked.
    """
    name = uuid.uuid4().hex[:8]
    own, first = folder.with_name(f"{folder.name}{name}"), folder.with_name(f"{CLAIMING}{name}")
    first.mkdir(parents=True)
    lock = native_lock(first / LOCK)
    try:
        lock.acquire()
    except OSError as error:  # as on some network's file systems: then nobody takes it for abandoned either
        logger.debug("%s: no lock can be had (%s)", own, error)
    os.rename(first, own)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        lock.release()


def _age(path: Path) -> float:
    """Return the seconds since a file or folder was changed; 0 if it has gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def sync_file(path: Path) -> None:
    """Have the file's content reach the disk before its name does: otherwise a power cut may leave an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
