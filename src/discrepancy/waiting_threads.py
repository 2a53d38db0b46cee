"""A short spin of waiting OpenMP threads, so that two trainings on one machine do not block each other.

PyTorch's wheels bring GNU's libgomp, whose threads spin for milliseconds at every barrier. Where two processes share
the cores, each thread then waits for one that is not running: two trainings took seventeen times as long.
`benchmarks/two_runs.py` measures what a short spin costs a training that is alone.
"""

from __future__ import annotations

import os
from typing import Final

SPINS: Final = 1_000
"""Rounds of the loop in which a thread waits before it sleeps; libgomp's own choice is 300,000."""
CHOICES: Final = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""A user who sets one of these has chosen."""


def limit_spinning() -> None:
    """Set the number of spins in the environment; it counts if libgomp is loaded afterwards, with PyTorch."""
    if not any(name in os.environ for name in CHOICES):
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
