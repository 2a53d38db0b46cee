"""Trials on this machine, some at a time, each on GPUs of its own where there are any."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from discrepancy.benchmark.launch import launch, stop
from discrepancy.benchmark.store import Result
from discrepancy.benchmark.trial import TrialSpec
from discrepancy.data.lazy_array import usable_cores

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; empty without any."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get(_VISIBLE)
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def default_workers(gpus: Sequence[str], processes: int = 1) -> int:
    """Return how many trials run at a time: one for every `processes` GPUs, which share one training.

    Without a GPU it is one trial, which uses all cores.
    """
    return max(1, len(gpus) // processes)


def default_threads(workers: int) -> int:
    """Return the threads of a trial: the cores of this machine, shared among the trials that run at a time."""
    return max(1, usable_cores() // workers)


def places_of(workers: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Return the GPUs that each worker's trials see: an equal share, or a shared one, where there are any."""
    if not gpus:
        return [{} for _ in range(workers)]
    share = max(1, len(gpus) // workers)
    starts = [number * share % len(gpus) for number in range(workers)]
    return [{_VISIBLE: ",".join(gpus[start : start + share])} for start in starts]


def run_locally(
    specs: Sequence[TrialSpec], *, workers: int, gpus: Sequence[str] = ()
) -> Iterator[tuple[TrialSpec, Result]]:
    """Run trials, `workers` at a time; yield each spec with its result as it ends.

    Where the caller stops early, those that run are stopped and those that wait never begin.
    """
    places: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for place in places_of(workers, gpus):
        places.put(place)

    def run(spec: TrialSpec) -> Result:
        place = places.get()
        try:
            return launch(spec, place)
        finally:
            places.put(place)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="trial")
    try:
        waiting = {pool.submit(run, spec): spec for spec in specs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        stop(str(Path(specs[0].project) / specs[0].store))
        raise
    finally:
        pool.shutdown(wait=True)
