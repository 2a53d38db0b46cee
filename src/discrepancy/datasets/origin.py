"""The origin of a dataset on disk: kept beside it, so that a run can tell whether it may use the dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from discrepancy.atomic import replacing
from discrepancy.errors import InputError
from discrepancy.json_files import read_object

Groups = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Origin:
    """Everything that a dataset was made from.

    Attributes:
        identity: tells this content from any other of the same dataset: a digest of it, or the run that made it.
        parameters: every value that decides it, by group and name; JSON values.
        ancestors: the identity of every dataset on the way to it, by name.
    """

    identity: str
    parameters: Groups = field(default_factory=dict)
    ancestors: Mapping[str, str] = field(default_factory=dict)

    def identified(self, identity: str | None) -> Self:
        """Return the same origin with another identity; the same one for None."""
        return self if identity is None else replace(self, identity=identity)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Self | None:
        """Return the origin that `to_json` gave; None for anything else."""
        try:
            origin = cls(**values)
        except TypeError:
            return None
        groups = origin.parameters.values() if isinstance(origin.parameters, dict) else [None]
        whole = isinstance(origin.identity, str) and isinstance(origin.ancestors, dict)
        return origin if whole and all(isinstance(group, dict) for group in groups) else None


@runtime_checkable
class Traced(Protocol):
    """A dataset that keeps the origin of what it saves."""

    origin: Origin | None
    """Of what is saved next; its identity may be replaced by one that the dataset knows better."""

    stale: bool
    """Ignore what is on disk: `exists` is false."""

    def found(self) -> Iterator[tuple[str | None, Origin | None]]:
        """Yield what is on disk, the latest first: its version, and its origin where one was kept."""

    def load(self) -> Any:
        """Read it."""

    def use(self, version: str | None) -> None:
        """Load this version from now on."""


def write_note(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON values to a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_note(path: Path) -> dict[str, Any]:
    """Return the JSON values that `write_note` wrote; empty where there are none that can be read."""
    try:
        return read_object(path)
    except InputError:
        return {}
