"""Freed memory that stays with the process for its next array: on a CPU, batches of images are computed faster.

glibc returns a block of more than 32 MiB to the system as soon as it is freed. The maps of a batch are such blocks. The
system clears every page of the next one, which takes about as long as the network's arithmetic.
`benchmarks/freed_memory.py` measures it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Numbers of these settings in glibc's `malloc.h`."""
LARGEST: Final = (256 * 2**20, 32 * 2**20)
"""Blocks up to this size are kept, bytes: the first that glibc takes. Before 2.35 it takes no more than the second."""
MOST: Final = 512 * 2**20
"""Bytes at the end of the process's memory that are kept at most."""
CHOICES: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
"""A user who sets one of these has chosen."""


def keep_freed_memory() -> bool:
    """Have glibc keep large blocks for the next array, unless the user has chosen otherwise.

    Returns:
        True if it keeps blocks of every usual size.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in CHOICES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    kept = next((size for size in LARGEST if mallopt(M_MMAP_THRESHOLD, size)), 0)
    return bool(mallopt(M_TRIM_THRESHOLD, MOST)) and kept == LARGEST[0]
