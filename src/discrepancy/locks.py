"""Lock files: one process at a time, on this machine or on others that share the folder."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from discrepancy.errors import InputError

logger = logging.getLogger(__name__)


@contextmanager
def file_lock(
    path: Path,
    *,
    wait: bool = True,
    busy: str = "another process is at work",
    advice: str = "wait for it to end",
) -> Iterator[None]:
    """Hold a lock file until the block, or this process, ends, however it ends.

    The file stays, and says who held it last. A file system without locks is worked on without one, with a warning.

    Args:
        path: the lock file; its folder is made if it is not there.
        wait: until no other process holds it.
        busy: what another process does that holds it, for the message.
        advice: what to do then, for the message.

    Raises:
        InputError: another process holds it, and this one does not wait; the message names that process.
        OSError: the folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = native_lock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if not wait:
                raise InputError(f"{busy} ({_holder(path)}); expected to be alone: {advice}") from error
            logger.info("waiting for another process, which holds %s: %s", path, _holder(path))
            lock.acquire(timeout=-1)
    except OSError as error:
        logger.warning("%s: no lock can be had (%s): nothing keeps two processes apart", path, error)
    else:
        with suppress(OSError):  # a full disk: then the message cannot name this process
            path.write_text(_this_process(), encoding="utf-8")
    try:
        yield
    finally:
        lock.release()


def native_lock(path: Path) -> FileLock:
    """Make a lock of the operating system, which ends with its process on network folders too; it is not held yet.

    The file's existence alone, which filelock falls back to, would outlive a killed process. The group may take the
    lock, too, where it shares the folder.
    """
    return FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False, mode=0o664)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}\n"


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "a process that is just beginning"
    except (OSError, ValueError):
        return "a process that cannot be named"
