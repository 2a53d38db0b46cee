"""The batches of an epoch, in a shuffled order: prepared ahead by threads, or taken from the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from discrepancy.training.process_group import BatchShard, ProcessGroup
from discrepancy.training.settings import TrainingSettings
from discrepancy.training.task import Batch, TrainingTask, is_resident


def epoch_batches(
    task: TrainingTask, epoch: int, settings: TrainingSettings, device: torch.device, group: ProcessGroup | None
) -> Iterator[tuple[BatchShard, Batch]]:
    """Yield the epoch's batches on the device, or this process's shards of them.

    Args:
        task: makes them.
        epoch: counted from 0; the order is drawn from it and the seed.
        settings: batch size and seed.
        device: where to train.
        group: the processes that train together.
    """
    order = np.random.default_rng([settings.seed, epoch]).permutation(task.examples)
    parts = [order[i : i + settings.batch_size] for i in range(0, len(order), settings.batch_size)]
    shards = [group.shard(part) if group else BatchShard(part, len(part), len(part)) for part in parts]
    batches = _taken if is_resident(task) else _prepared_ahead
    for shard, batch in batches(task, epoch, shards, device, group.size if group else 1):
        yield shard, {key: tensor.to(device, non_blocking=True) for key, tensor in batch.items()}


def _taken(
    task: TrainingTask, epoch: int, shards: list[BatchShard], device: torch.device, processes: int
) -> Iterator[tuple[BatchShard, Batch]]:
    """Yield batches that only have to be picked out of what is on the device."""
    del device, processes
    for shard in shards:
        yield shard, task.batch(epoch, shard.rows)


def _prepared_ahead(
    task: TrainingTask, epoch: int, shards: list[BatchShard], device: torch.device, processes: int
) -> Iterator[tuple[BatchShard, Batch]]:
    """Yield batches that worker threads make a few steps ahead."""
    workers = max(1, min(4, (os.cpu_count() or 1) // processes))
    with ThreadPoolExecutor(workers) as pool:
        pending: list[Future[Batch]] = []
        queue = iter(shards)
        try:
            for shard in shards:
                while len(pending) < 2 * workers and (ahead := next(queue, None)) is not None:
                    pending.append(pool.submit(_prepared, task, epoch, ahead.rows, device))
                yield shard, pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()


def _prepared(task: TrainingTask, epoch: int, indices: NDArray[np.int64], device: torch.device) -> Batch:
    """Return a batch; for a GPU in page-locked memory, from which copies do not make the host wait."""
    batch = task.batch(epoch, indices)
    if device.type != "cuda":
        return batch
    return {key: tensor if tensor.is_cuda else tensor.pin_memory() for key, tensor in batch.items()}
