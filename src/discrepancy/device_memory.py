"""Handling of a GPU whose memory is too small: less at a time, else one message that names what to lower."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import torch

from discrepancy.errors import InputError

logger = logging.getLogger(__name__)

T = TypeVar("T")

USUAL_PIXELS: Final = 256 * 256
"""Pixels of an image as the papers have them."""


@contextmanager
def memory_explained(what: str, remedies: Sequence[str]) -> Iterator[None]:
    """Raise an error that users understand in place of PyTorch's.

    Args:
        what: needs the memory.
        remedies: what lowers the need, such as `a smaller image_size`.

    Raises:
        InputError: the device's memory was too small.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
        last = f" ({wanted[1]} more were asked for)" if wanted else ""
        raise InputError(f"{what}: the GPU's memory is too small{last}; expected {' or '.join(remedies)}") from error


def announce(what: str, needed: int, free: int, remedies: Sequence[str]) -> None:
    """Log how much of a GPU's memory something will take; warn if that is more than is free.

    Args:
        what: needs the memory.
        needed: bytes, about.
        free: bytes.
        remedies: as of `memory_explained`.
    """
    amounts = f"{needed / 2**30:.1f} GiB of GPU memory; {free / 2**30:.1f} GiB are free"
    if needed <= free:
        logger.info("%s needs about %s", what, amounts)
    else:
        logger.warning("%s may not fit: it needs about %s. Expected %s", what, amounts, " or ".join(remedies))


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that this process can still take, those included that PyTorch keeps unused."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def images_at_once(batch_size: int, height: int, width: int) -> int:
    """Return how many images to compute at a time: of large ones fewer, so that memory does not grow with their size.

    Args:
        batch_size: images at a time up to 256x256 px; of larger ones as many as have no more pixels, at least 1.
        height: of the images, px.
        width: of the images, px.
    """
    return max(1, min(batch_size, batch_size * USUAL_PIXELS // (height * width)))


def shrinking_batches(
    count: int, size: int, compute: Callable[[slice], T], *, what: str, remedies: Sequence[str]
) -> Iterator[T]:
    """Yield the results of consecutive rows; where memory is too small, go on with half as many rows at a time.

    Args:
        count: number of rows.
        size: rows at a time, to begin with.
        compute: gets the rows as a slice.
        what: is computed, for messages.
        remedies: as of `memory_explained`, for the case that one row is too much.

    Raises:
        InputError: the device's memory is too small for one row.
    """
    start = 0
    while start < count:
        rows = slice(start, min(start + size, count))
        size = rows.stop - start
        try:
            with memory_explained(what, remedies):
                result = compute(rows)
        except InputError as error:
            if size == 1 or not isinstance(error.__cause__, torch.OutOfMemoryError):
                raise
        else:
            yield result
            start = rows.stop
            continue
        # Not in the handler: the error holds on to the memory of the attempt.
        size = (size + 1) // 2
        logger.warning("%s: the GPU's memory is too small; going on with %d at a time", what, size)
