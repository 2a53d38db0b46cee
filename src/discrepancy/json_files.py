"""JSON objects read from files that users may have edited; every fault is an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from discrepancy.errors import InputError


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of UTF-8 text, with or without a byte order mark.

    Raises:
        InputError: the file is missing, no plain file, not UTF-8, not JSON, nested too deeply, or not an object; or it
            names a key twice, which programs interpret differently.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise ValueError("no plain file")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({reason}); expected a JSON object") from error
    return parse_object(content, str(path))


def parse_object(content: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object from the content of a file, as `read_object` does.

    Args:
        content: of the file.
        name: of the file, for messages.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: cannot be read ({error}); expected a JSON object") from error
    if not isinstance(value, dict):
        raise InputError(f"{name}: holds a {type(value).__name__}; expected a JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:80]!r} appears twice")
    return table
