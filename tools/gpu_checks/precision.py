"""The precisions that a method can be run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from discrepancy.devices import Precision, computing_in

MODES: tuple[Precision, ...] = get_args(Precision)


@contextmanager
def precision(mode: Precision) -> Iterator[bool]:
    """Run in a precision; gives whether training is to use autocast."""
    with computing_in(mode):
        yield mode == "bf16"
