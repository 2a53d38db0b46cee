"""Reading of many files by several threads, with a progress bar; errors are collected until all files were tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from tqdm import tqdm

from discrepancy.data.lazy_array import usable_cores
from discrepancy.errors import InputError

Result = TypeVar("Result")

_BLOCK: Final = 1024  # files in progress at a time: results wait for the caller


def attempt_all(
    read: Callable[[Path], Result], paths: Sequence[Path], *, workers: int | None = None, title: str | None = None
) -> Iterator[Result | InputError]:
    """Return `read` of every path, in order, or the `InputError` that it raised in place of its result.

    Args:
        read: called by threads, so it should spend its time outside the interpreter lock.
        paths: the files.
        workers: threads; by default one per usable core.
        title: of a progress bar, shown on a terminal only; None for none.
    """

    def attempt(path: Path) -> Result | InputError:
        try:
            return read(path)
        except InputError as error:
            return error

    with (
        ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="read") as pool,
        tqdm(total=len(paths), desc=title, unit="file", disable=None if title else True) as bar,
    ):
        for first in range(0, len(paths), _BLOCK):
            for result in pool.map(attempt, paths[first : first + _BLOCK]):
                bar.update()
                yield result
