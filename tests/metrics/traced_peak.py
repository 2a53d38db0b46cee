"""The most memory that a call takes at a time, as Python and numpy ask for it; memory-mapped files do not count."""

import tracemalloc

import numpy as np


def traced_peak(function, *arguments):
    """Bytes at the highest point of the call, above those before it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        function(*arguments)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def maps_with_good(good):
    """Random maps `[4 + good, 64, 64]` and masks, a dozen pixels marked in each of the first four."""
    maps = np.random.default_rng(good).random((4 + good, 64, 64), dtype=np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[:4, 3:6, 5:9] = True
    return maps, masks
