"""Names that become folders: which of them Kedro, the shell and the file system all take as they are."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Final

from discrepancy.errors import InputError

GLOB: Final = "[]*?"
"""Characters with a meaning of their own where Kedro searches for files: of a configuration, or of versions."""
PATTERN: Final = GLOB + "{}"
"""The same, and what Kedro fills in where an entry of the catalog stands for many data sets."""
LONGEST: Final = 255
"""Bytes of a file's name on every usual file system."""
_TAIL: Final = 40
"""Bytes of its end that a shortened name keeps."""
_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's control characters, bytes that are no UTF-8, and line breaks."""


def check_name(what: str, name: str, *, where: str = "a folder") -> None:
    """Refuse a name that cannot be that of a folder of a run's own files.

    Args:
        what: the parameter, for the message.
        name: the name.
        where: what it should name, for the message.

    Raises:
        InputError: it is empty, no plain name, too long, or holds a character with a meaning of its own.
    """
    if name in {"", ".", ".."} or name != Path(name).name or "\\" in name:
        raise InputError(f"{what} is {name!r}: expected the plain name of {where}.")
    if name != name.strip() or any(unicodedata.category(character) in _UNSEEN for character in name):
        raise InputError(
            f"{what} is {name!r}: expected a name without line breaks, control characters, or spaces at either end."
        )
    if (length := len(name.encode("utf-8", "surrogateescape"))) > LONGEST:
        raise InputError(f"{what} is {name[:20]!r}..., of {length} bytes: expected at most {LONGEST}.")
    _refuse_patterns(what, name)


def check_path(what: str, path: str) -> None:
    """Refuse the path of a folder in which Kedro could not find again what it writes.

    Raises:
        InputError: a character has a meaning of its own.
    """
    if not path or "\0" in path or "\n" in path:
        raise InputError(f"{what} is {path!r}: expected the path of a folder.")
    _refuse_patterns(what, path)


def _refuse_patterns(what: str, text: str) -> None:
    if found := "".join(character for character in PATTERN if character in text):
        raise InputError(
            f"{what} is {text!r}: expected a name without {' '.join(found)}, which Kedro takes for a pattern when it "
            "looks for what a run has written."
        )


def escaped(name: str) -> str:
    r"""Return a name that tables, pages and messages can hold: bytes that are not UTF-8 as `\udce9`."""
    return name.encode("utf-8", "backslashreplace").decode()


def shortened(name: str, most: int) -> str:
    """Return a file name of at most `most` bytes: its two ends, and between them a digest of all of it.

    The end keeps what tells one picture of an image from another (`_outline.png`). No character is torn apart.
    """
    data = os.fsencode(name)
    if len(data) <= most:
        return name
    digest = f"~{hashlib.sha256(data).hexdigest()[:16]}~"
    tail = min(_TAIL, (most - len(digest)) // 2)
    head = most - len(digest) - tail
    return data[:head].decode(errors="ignore") + digest + data[-tail:].decode(errors="ignore")
