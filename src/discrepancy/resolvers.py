"""Functions that configuration files may call: `${one_of:...}`, `${first_of:...}` and `${folder_for:...}`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from discrepancy.errors import InputError


def one_of(name: str, value: str, *known: str) -> str:
    """Resolve `${one_of:NAME,VALUE,A,B}` to the value, if it is A or B.

    Raises:
        InputError: it is another one.
    """
    if value not in known:
        raise InputError(f"{name}: {value!r} is not known; expected {', '.join(known)}")
    return value


def first_of(value: str, other: str) -> str:
    """Resolve `${first_of:VALUE,OTHER}` to the value, or to the other if it is empty."""
    return value or other


def folder_for(place: str) -> str:
    """Resolve `${folder_for:/photos/lamp}` to the name of a folder for what is made of it: `lamp-` and six digits."""
    if not place:
        return "nothing"
    path = Path(place).expanduser().absolute()
    plain = re.sub(r"[^\w.-]+", "_", path.name).strip("_.") or "photographs"
    return f"{plain[:60]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:6]}"


RESOLVERS: Final[Mapping[str, Callable[..., Any]]] = {
    "one_of": one_of,
    "first_of": first_of,
    "folder_for": folder_for,
}
