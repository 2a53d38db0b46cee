"""The sample table as a file of an earlier run, checked before later steps rely on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import PurePosixPath
from typing import Final

import pandas as pd

from discrepancy.data.samples import SPLIT_COLUMNS, join_first
from discrepancy.errors import InputError

SPLITS: Final = ("train", "validation", "test")


def parse_sample_table(content: bytes, name: str) -> pd.DataFrame:
    """Parse the sample table in a CSV file of UTF-8 text, see `check_samples`.

    Args:
        content: of the file.
        name: of the file, for messages.
    """
    try:
        # All as text: a defect may be called 01, NA or 1e3, and numbers are checked below.
        table = pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # pandas' errors of parsing and of the encoding have this type
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{name}: cannot be read ({reason}); expected a sample table, a CSV file") from error
    return check_samples(table, name)


def check_samples(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a sample table with its columns in order and of their types; rows stay as they are.

    Raises:
        InputError: a column is missing, there once more, or holds something that it cannot hold. Or a path leads out
            of the data root, an image is there twice, splits are not one after the other, or one is empty.
    """
    if absent := [column for column in SPLIT_COLUMNS if column not in table.columns]:
        raise InputError(f"{name}: no column {', '.join(absent)}; expected {', '.join(SPLIT_COLUMNS)}")
    for column, (fits, expected) in _COLUMNS.items():
        texts = table[column].astype(str)
        if wrong := [text for text in texts if not fits(text)]:
            raise InputError(f"{name}: {column} is {join_first([repr(t[:80]) for t in wrong])}; expected {expected}")
    if (repeated := table["image"][table["image"].duplicated()]).size:
        raise InputError(f"{name}: {join_first(repeated)} appears twice; expected each image once")
    _check_splits(list(table["split"]), name)
    return table[list(SPLIT_COLUMNS)].astype(SPLIT_COLUMNS)


def _check_splits(splits: list[str], name: str) -> None:
    """Refuse splits out of order: the arrays on disk are in the order of the rows, each split one piece of them."""
    if splits != sorted(splits, key=SPLITS.index):
        raise InputError(f"{name}: splits are mixed; expected all rows of {', then '.join(SPLITS)}")
    if absent := [split for split in ("train", "test") if split not in splits]:  # cross-fitting has no validation
        raise InputError(f"{name}: no row of the split {absent[0]}; expected some of train and of test")


def _is_inside(text: str) -> bool:
    path = PurePosixPath(text)
    plain = not path.is_absolute() and ".." not in path.parts and "\0" not in text
    return plain and bool(path.parts) and not re.match(r"[A-Za-z]:\\", text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", text) is not None and int(text) > 0


_COLUMNS: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "image": (_is_inside, "a path inside the data root"),
    "mask": (lambda text: text == "" or _is_inside(text), "a path inside the data root, or nothing"),
    "split": (SPLITS.__contains__, ", ".join(SPLITS)),
    "label": (("0", "1").__contains__, "0 for good parts, 1 for defective ones"),
    "defect": (bool, "the name of a kind of defect, or of good parts"),
    "width": (_is_number, "a number of pixels"),
    "height": (_is_number, "a number of pixels"),
    "bit_depth": (lambda text: re.fullmatch(r"[0-9]|1[0-6]", text) is not None, "0 to 16 bits"),
    "sha256": (lambda text: re.fullmatch(r"[0-9a-f]{64}", text) is not None, "64 hexadecimal digits"),
}
