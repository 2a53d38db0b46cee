"""Cells on this machine, some at a time, each on a GPU of its own where there are any."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

from discrepancy.benchmark.cell import Task
from discrepancy.benchmark.launch import launch
from discrepancy.benchmark.store import Result
from discrepancy.inspection.chunks import usable_cores

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; none where there are none."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get(_VISIBLE)
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def default_workers(gpus: Sequence[str]) -> int:
    """One cell at a time for each GPU; without any one, which uses all cores."""
    return max(1, len(gpus))


def default_threads(workers: int) -> int:
    """The cores of this machine, shared among the cells that run at a time."""
    return max(1, usable_cores() // workers)


def run_locally(tasks: Sequence[Task], *, workers: int, gpus: Sequence[str] = ()) -> Iterator[tuple[Task, Result]]:
    """Run tasks, `workers` at a time; gives each with its result as it ends.

    Where the caller stops early, those that run go on to their end and those that wait never begin.
    """
    places: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for number in range(workers):
        places.put({_VISIBLE: gpus[number % len(gpus)]} if gpus else {})

    def run(task: Task) -> Result:
        place = places.get()
        try:
            return launch(task, place)
        finally:
            places.put(place)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="cell")
    try:
        waiting = {pool.submit(run, task): task for task in tasks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
