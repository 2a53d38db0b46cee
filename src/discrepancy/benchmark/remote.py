"""Cells on the workers of a Dask scheduler: one task each, on whichever machine is free."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from discrepancy.benchmark.cell import Task
from discrepancy.benchmark.launch import launch
from discrepancy.benchmark.store import Result
from discrepancy.errors import InputError


@dataclass(frozen=True)
class Sight:
    """What a worker sees: its host, whether the token that was written into the benchmark's folder is there, and the
    package's version."""

    host: str
    token: bool
    version: str


def run_on_dask(tasks: Sequence[Task], address: str, *, timeout: float = 30.0) -> Iterator[tuple[Task, Result]]:
    """Run tasks on the workers of the scheduler at `address`; gives each with its result as it ends.

    A worker that dies takes its cell along; the scheduler gives the cell to another one, where the training goes on
    from its checkpoint. A cell whose workers died four times counts as failed. A result is released as soon as it is
    here: otherwise cells whose results lay on a dead worker would be computed again.

    Raises:
        InputError: `distributed` is not installed, the scheduler does not answer, it has no worker, or a worker does
            not see the project or has another version of it.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise InputError(
            "--scheduler needs dask.distributed, which is not installed: pip install 'discrepancy[distributed]'"
        ) from error
    try:
        client = Client(address, timeout=timeout)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler: {address} does not answer ({error}); expected a running Dask scheduler, tcp://host:port"
        ) from error
    with client:
        _check_workers(client, tasks, timeout)
        named = {f"cell-{task.fingerprint}": task for task in tasks}
        futures = [client.submit(launch, task, key=key, pure=False) for key, task in named.items()]
        pending = as_completed(futures)
        del futures
        for future in pending:
            task = named[future.key]
            failure = future.exception()
            result = future.result() if failure is None else _lost(task, failure)
            future.release()
            yield task, result


def _check_workers(client: Any, tasks: Sequence[Task], timeout: float) -> None:
    """Have every worker look for a token in the benchmark's folder: that is what they have to share."""
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise InputError(
            f"--scheduler: {client.scheduler.address} has no worker; expected one at least: "
            f"dask worker {client.scheduler.address} --nthreads 1"
        ) from error
    task = tasks[0]
    token = Path(task.project) / task.store / f".token-{socket.gethostname()}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        sights: dict[str, Sight] = client.run(look, str(token))
    finally:
        token.unlink(missing_ok=True)
    for worker, sight in sights.items():
        if not sight.token:
            raise InputError(
                f"the worker {worker} on {sight.host} does not see {token.parent}: expected the project's folder on "
                "storage that all machines share, at the same path"
            )
        if sight.version != version("discrepancy"):
            raise InputError(
                f"the worker {worker} on {sight.host} has discrepancy {sight.version}, this machine "
                f"{version('discrepancy')}: expected the same"
            )


def look(token: str) -> Sight:
    """What this process, a worker, sees."""
    return Sight(socket.gethostname(), Path(token).is_file(), version("discrepancy"))


def _lost(task: Task, error: BaseException) -> Result:
    return task.result("failed", reason=f"{type(error).__name__}: {error}")
