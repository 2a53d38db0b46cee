"""Trials on the workers of a Dask scheduler: one task each, on whichever machine is free."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from discrepancy.benchmark.launch import launch, lost, stop
from discrepancy.benchmark.store import Result
from discrepancy.benchmark.trial import TrialSpec
from discrepancy.dask_workers import connected


def run_on_dask(
    specs: Sequence[TrialSpec], address: str, *, timeout: float | None = None
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
    folder = Path(specs[0].project) / specs[0].store
    with connected(address, folder, timeout=timeout) as client:
        from distributed import as_completed

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
                client.run(stop, str(folder), on_error="ignore")
            raise


def _key(spec: TrialSpec) -> str:
    """Dask takes two specs of one key for the same: it has to tell projects and benchmarks apart."""
    return f"trial-{hashlib.sha256(spec.to_json().encode()).hexdigest()}"
