"""Number of bits that 16-bit photographs use, decided once per category, so that contrast does not vary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from discrepancy.data.high_bit_depth import DeepImage, read_deep_file
from discrepancy.data.reading import highest_value, pillow_limit_disabled
from discrepancy.data.thread_map import attempt_all
from discrepancy.errors import InputError

USUAL: Final = (8, 10, 12, 14, 16)
"""Usual numbers of bits of cameras; 8 of 16 are a mistake made when saving."""
_SETTLED: Final = 2**14
_BLOCK: Final = 32  # photographs read at a time, before it is known whether more are needed


class Depth(NamedTuple):
    """Number of bits that a category's 16-bit photographs use.

    Attributes:
        bits: white is 2^bits - 1, as the training photographs declare; 16 without a declaration.
        used: the fewest of `USUAL` that hold every value of every photograph; 16 where none has 16 bits.
        images: photographs of 16 bits per channel.
    """

    bits: int
    used: int
    images: int

    @property
    def doubt(self) -> str:
        """Explanation of a doubtful depth and what to do about it; empty if nothing is doubtful."""
        if self.used >= self.bits:
            return ""
        highest, lost = 2**self.used - 1, 2 ** (self.bits - self.used)
        return (
            f"no value of the {self.images} photographs of 16 bits is above {highest}, as of a camera of {self.used} "
            f"bits. With white at {2**self.bits - 1} they are shown {lost} times too dark, in few grey levels: "
            f"expected bit_depth={self.used}, or bit_depth={self.bits} if they are meant to be so dark"
        )


@pillow_limit_disabled()
def category_depth(train: Sequence[Path], test: Sequence[Path], *, workers: int | None = None) -> Depth:
    """Determine how many of 16 bits a category's photographs use; files of 8 bits or packed values cost almost nothing.

    The declarations in the files (PNG's sBIT, TIFF's MaxSampleValue) count if all training photographs have one and no
    value exceeds it. Test photographs decide nothing. Values are read until one needs all 16 bits: in most data sets
    that is the first photograph. Unreadable files are skipped: decoding names them.

    Args:
        train: photographs that are trained on, or held out.
        test: photographs to test on.
        workers: threads; by default one per usable core.
    """
    known = {path: deep for path, deep in _sixteen([*train, *test], workers) if deep is not None}
    good, others = ([path for path in paths if path in known] for paths in (train, test))
    highest = _highest(good, workers)
    said = max((known[path].said for path in good), default=16)
    bits = said if highest < 2**said else 16
    if highest < _SETTLED:
        highest = max(highest, _highest(others, workers))
    return Depth(bits, next(usual for usual in USUAL if highest < 2**usual) if known else 16, len(known))


def _sixteen(paths: Sequence[Path], workers: int | None) -> list[tuple[Path, DeepImage | None]]:
    results = attempt_all(_sixteen_bit, paths, workers=workers)
    return [(path, None if isinstance(deep, InputError) else deep) for path, deep in zip(paths, results, strict=True)]


def _sixteen_bit(path: Path) -> DeepImage | None:
    if not path.is_file():
        return None
    try:
        deep = read_deep_file(path)
    except OSError:
        return None
    return deep if deep is not None and deep.stored == 16 else None


def _highest(paths: Sequence[Path], workers: int | None) -> int:
    """Return the highest value of all photographs, or the first one that needs all 16 bits; 0 without any."""
    highest = 0
    for first in range(0, len(paths), _BLOCK):
        found = attempt_all(highest_value, paths[first : first + _BLOCK], workers=workers)
        highest = max([highest, *(value for value in found if not isinstance(value, InputError))])
        if highest >= _SETTLED:
            break
    return highest
