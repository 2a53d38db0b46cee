"""Workers of a Dask scheduler, checked before they get work: they share a folder, and run this version."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from discrepancy.errors import InputError

TIMEOUT = 30.0
"""Seconds to wait for the scheduler, and for a first worker."""


@dataclass(frozen=True)
class WorkerInfo:
    """View of a worker: its host, whether it sees a file in the shared folder, and the version of the package."""

    host: str
    token: bool
    version: str


@contextmanager
def connected(address: str, folder: Path, *, timeout: float | None = None) -> Iterator[Any]:
    """Yield a client of the scheduler at an address whose workers all see a folder.

    Args:
        address: `tcp://host:port`.
        folder: which this machine and all workers share; it is made.
        timeout: seconds to wait for the scheduler, and for a first worker; `TIMEOUT` unless given.

    Raises:
        InputError: `distributed` is not installed, the scheduler does not answer, it has no worker, or a worker does
            not see the folder or has another version of the package.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "a scheduler needs dask.distributed, which is not installed: pip install 'discrepancy[distributed]'"
        ) from error
    try:
        client = Client(address, timeout=timeout or TIMEOUT)
    except (OSError, ValueError) as error:
        raise InputError(
            f"scheduler: {address} does not answer ({error}); expected a running Dask scheduler, tcp://host:port"
        ) from error
    with client:
        check_workers(client, folder, timeout or TIMEOUT)
        yield client


def check_workers(client: Any, folder: Path, timeout: float) -> None:
    """Have every worker look for a file in the shared folder.

    Raises:
        InputError: there is no worker, or one of them does not see the folder or has another version of the package.
    """
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        address = client.scheduler.address
        raise InputError(
            f"scheduler: {address} has no worker; expected one at least: dask worker {address} --nthreads 1"
        ) from error
    token = folder / f".token-{socket.gethostname()}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        workers: dict[str, WorkerInfo] = client.run(probe, str(token))
    except ImportError as error:
        raise InputError(
            f"a worker cannot begin: {error}; expected discrepancy {version('discrepancy')} on every machine"
        ) from error
    finally:
        token.unlink(missing_ok=True)
    for worker, info in workers.items():
        if not info.token:
            raise InputError(
                f"the worker {worker} on {info.host} does not see {folder}: expected the project's folder on storage "
                "that all machines share, at the same path"
            )
        if info.version != version("discrepancy"):
            raise InputError(
                f"the worker {worker} on {info.host} has discrepancy {info.version}, this machine "
                f"{version('discrepancy')}: expected the same"
            )


def probe(token: str) -> WorkerInfo:
    """Return what this worker process sees."""
    return WorkerInfo(socket.gethostname(), Path(token).is_file(), version("discrepancy"))
