"""Counts and times of the server, for Prometheus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

SEVERAL: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which several processes count together."""

REQUESTS = Counter("discrepancy_requests", "Requests for a prediction.", ["status"])
LATENCY = Histogram(
    "discrepancy_request_seconds",
    "Seconds from the request to its answer, of photographs that were examined.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DECISIONS = Counter("discrepancy_decisions", "Photographs by decision.", ["decision"])
BATCHES = Histogram("discrepancy_batch_size", "Photographs per pass of the graph.", buckets=(1, 2, 4, 8, 16, 32))
IN_PROGRESS = Gauge("discrepancy_in_progress", "Requests that are being answered.", multiprocess_mode="livesum")


def exposition() -> bytes:
    """Return all numbers in Prometheus' format, those of all processes of the server together."""
    if SEVERAL not in os.environ:
        return generate_latest()
    for path in Path(os.environ[SEVERAL]).glob("gauge_live*_*.db"):  # of workers that were killed
        number = int(path.stem.rpartition("_")[2])
        if not _lives(number):
            mark_process_dead(number)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


def _lives(number: int) -> bool:
    """Say whether a process is there."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
