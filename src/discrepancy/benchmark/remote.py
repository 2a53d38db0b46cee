"""Trials on the workers of a Dask scheduler: one task each, on whichever machine is free."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from discrepancy.benchmark.launch import launch, lost, stop
from discrepancy.benchmark.store import Result
from discrepancy.benchmark.trial import TrialSpec
from discrepancy.errors import InputError


@dataclass(frozen=True)
class WorkerInfo:
    """A worker's account of itself.

    Attributes:
        host: its machine.
        token: whether it sees the token that was written into the benchmark's folder.
        version: of the package.
    """

    host: str
    token: bool
    version: str


def run_on_dask(
    specs: Sequence[TrialSpec], address: str, *, timeout: float = 30.0
) -> Iterator[tuple[TrialSpec, Result]]:
    """Run trials on the workers of the scheduler at `address`; yield each spec with its result as it ends.

    A worker that dies takes its trial along; the scheduler gives the trial to another one, where the training goes on
    from its checkpoint. A trial whose workers died four times counts as failed. A result is released as soon as it is
    here: otherwise trials whose results lay on a dead worker would be computed again. Where the caller stops early,
    the trials that run are stopped on their workers.

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
        _check_workers(client, specs, timeout)
        named = {_key(spec): spec for spec in specs}
        futures = [client.submit(launch, spec, key=key, pure=False) for key, spec in named.items()]
        pending = as_completed(futures)
        del futures
        try:
            for future in pending:
                spec = named[future.key]
                failure = future.exception()
                result = future.result() if failure is None else lost(spec, f"{type(failure).__name__}: {failure}")
                future.release()
                yield spec, result
        except BaseException:
            with suppress(OSError, TimeoutError):  # the scheduler may be what is gone
                client.cancel(list(pending.futures))  # first: a worker that is free takes the next
                client.run(stop, str(Path(specs[0].project) / specs[0].store), on_error="ignore")
            raise


def _check_workers(client: Any, specs: Sequence[TrialSpec], timeout: float) -> None:
    """Have every worker look for a token in the benchmark's folder: that is what they have to share."""
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise InputError(
            f"--scheduler: {client.scheduler.address} has no worker; expected one at least: "
            f"dask worker {client.scheduler.address} --nthreads 1"
        ) from error
    spec = specs[0]
    token = Path(spec.project) / spec.store / f".token-{socket.gethostname()}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        workers: dict[str, WorkerInfo] = client.run(probe, str(token))
    except ImportError as error:
        raise InputError(
            f"a worker cannot run trials: {error}; expected discrepancy {version('discrepancy')} on every machine"
        ) from error
    finally:
        token.unlink(missing_ok=True)
    for worker, info in workers.items():
        if not info.token:
            raise InputError(
                f"the worker {worker} on {info.host} does not see {token.parent}: expected the project's folder on "
                "storage that all machines share, at the same path"
            )
        if info.version != version("discrepancy"):
            raise InputError(
                f"the worker {worker} on {info.host} has discrepancy {info.version}, this machine "
                f"{version('discrepancy')}: expected the same"
            )


def probe(token: str) -> WorkerInfo:
    """Return what this worker process sees."""
    return WorkerInfo(socket.gethostname(), Path(token).is_file(), version("discrepancy"))


def _key(spec: TrialSpec) -> str:
    """Dask takes two specs of one key for the same: it has to tell projects and benchmarks apart."""
    return f"trial-{hashlib.sha256(spec.to_json().encode()).hexdigest()}"
