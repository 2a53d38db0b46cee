"""Tables as text, for the terminal and for Markdown: numbers with three digits, compact and aligned."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from discrepancy.figures.style import number, share, shorten

_GAP = "  "
_NARROWEST = 8  # characters that a shortened column of words keeps


@dataclass(frozen=True)
class _Column:
    """A column ready to print: its name and its cells as words."""

    name: str
    cells: list[str]
    numeric: bool

    @property
    def width(self) -> int:
        return max(len(words) for words in [*_lines(self.name), *self.cells, ""])


def text_table(frame: pd.DataFrame, *, width: int = 100) -> str:
    """Return a table as aligned plain text of lines no longer than width.

    Numbers stand on the right, words on the left, a missing value is `-`. A column of floats within -1 and 1 (metrics)
    has three decimals, another three significant digits per number; integers are written in full. A table that is too
    wide first breaks its column names at `_` and spaces, then shortens its longest words in the middle. At last it
    continues its columns below, each part starting with the first column if that holds words. Columns are two spaces
    apart and cells hold no two spaces in a row, so lines split back into cells.

    Args:
        frame: any table; its index is left out unless it has a name. Column names may repeat.
        width: most characters in a line, at least 40.

    Raises:
        ValueError: a width below 40.
    """
    if width < 40:
        raise ValueError(f"A text table needs a width of at least 40 characters, found {width}.")
    columns = _columns(frame)
    if not columns:
        return ""
    if _total(columns) > width:
        columns = [_Column(_broken(column.name), column.cells, column.numeric) for column in columns]
    half = width // 2 - len(_GAP)  # any two columns of this width fit
    most = half
    while _total(columns) > width and most >= _NARROWEST:
        columns = [_narrowed(column, half if column.numeric else most) for column in columns]
        most -= 1
    return "\n\n".join(_block(part) for part in _parts(columns, width))


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a table in Markdown, numbers and missing values written as `text_table` does, numbers to the right."""
    columns = _columns(frame)
    if not columns:
        return ""
    rows = [[column.name for column in columns], ["---:" if column.numeric else "---" for column in columns]]
    rows += [list(row) for row in zip(*(column.cells for column in columns), strict=True)]
    return "\n".join(f"| {' | '.join(words.replace('|', chr(92) + '|') for words in row)} |" for row in rows)


def table_cells(frame: pd.DataFrame) -> list[tuple[str, list[str], bool]]:
    """Return a table's columns: name, cells as `text_table` writes them, and whether they are numbers."""
    return [(column.name, column.cells, column.numeric) for column in _columns(frame)]


def _columns(frame: pd.DataFrame) -> list[_Column]:
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index(allow_duplicates=True)
    series = [frame.iloc[:, i] for i in range(frame.shape[1])]
    return [_Column(_plain(s.name), _cells(s), pd.api.types.is_numeric_dtype(s) and s.dtype != bool) for s in series]


def _cells(series: pd.Series) -> list[str]:
    largest = series.abs().max() if pd.api.types.is_float_dtype(series) else np.nan
    # Three decimals suit metrics, but would hide a column of values that are all tiny.
    write = share if 0.01 <= largest <= 1.0 else number
    return [_cell(value, write) for value in series]


def _cell(value: object, write: Callable[[float], str]) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return write(float(value))
    if value is None or value is pd.NA or value is pd.NaT:
        return "-"
    return _plain(value) or "-"


def _plain(value: object) -> str:
    """Return anything as words on one line, with single spaces."""
    return " ".join(str(value).split())


def _lines(name: str) -> list[str]:
    return name.split("\n")


def _broken(name: str) -> str:
    return re.sub(r"(?<=.)[_ ](?=.)", "\n", name)


def _narrowed(column: _Column, width: int) -> _Column:
    """Return a column whose name and words are at most so long; numbers are never cut."""
    name = "\n".join(shorten(line, width) for line in _lines(column.name))
    cells = column.cells if column.numeric else [shorten(words, width) for words in column.cells]
    return _Column(name, cells, column.numeric)


def _total(columns: list[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _parts(columns: list[_Column], width: int) -> list[list[_Column]]:
    """Return the columns in groups that fit the width, each led by the first column where that names the rows."""
    parts = [columns[:1]]
    for column in columns[1:]:
        if _total([*parts[-1], column]) > width:
            parts.append([] if columns[0].numeric else [columns[0]])
        parts[-1].append(column)
    return parts


def _block(columns: list[_Column]) -> str:
    height = max(len(_lines(column.name)) for column in columns)
    stacks = []
    for column in columns:
        names = _lines(column.name)
        stack = [""] * (height - len(names)) + names + ["-" * column.width] + column.cells
        stacks.append([words.rjust(column.width) if column.numeric else words.ljust(column.width) for words in stack])
    return "\n".join(_GAP.join(row).rstrip() for row in zip(*stacks, strict=True))
