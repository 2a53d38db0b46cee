"""A folder for one process at a time, on this machine or on others that share it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from discrepancy.errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps two apart
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextmanager
def alone(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold the folder; the system lets go when the process ends, however it ends. Without locks, go on without one.

    Args:
        folder: made if it is not there.
        wait: until nobody else holds it.

    Raises:
        InputError: somebody else holds it, and this one does not wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise InputError(
                        f"the benchmark in {folder} is running already; expected to be alone: wait for it to end, or "
                        "give another --name"
                    ) from error
                logger.warning("%s: no lock can be had (%s): nothing keeps two processes apart", folder, error)
        yield
