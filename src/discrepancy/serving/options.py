"""Options of the server, handed to its worker processes by the environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from discrepancy.data.lazy_array import usable_cores

VARIABLE: Final = "DISCREPANCY_SERVING"
"""Holds the options as JSON."""
PORT_VARIABLE: Final = "DISCREPANCY_PORT"
KEY_VARIABLE: Final = "DISCREPANCY_API_KEY"
"""Holds the key that clients must send, if there is one: on a command line other users would see it."""


@dataclass(frozen=True)
class Options:
    """Limits of the server, and its bundle.

    Attributes:
        bundle: folder of the detector.
        workers: processes.
        waiting: requests that a process has at a time; further ones are answered with 503.
        batch_size: photographs per pass of the graph, at most.
        max_bytes: of a request's body.
        max_pixels: of a photograph.
        seconds: that a client may take to send a header, or a body.
        key: that clients must send; empty: none.
    """

    bundle: str
    workers: int = 1
    waiting: int = 64
    batch_size: int = 8
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    seconds: float = 10.0
    key: str = field(default="", repr=False)

    def to_environment(self) -> None:
        """Hand the options to processes that this one starts."""
        values = asdict(self)
        os.environ[KEY_VARIABLE] = values.pop("key")
        os.environ[VARIABLE] = json.dumps(values)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the options that `to_environment` has handed on."""
        return cls(**json.loads(os.environ[VARIABLE]), key=os.environ.get(KEY_VARIABLE, ""))

    @property
    def threads(self) -> int:
        """Threads of the graph in each process."""
        return max(1, usable_cores() // self.workers)

    @property
    def folder(self) -> Path:
        """Folder of the detector."""
        return Path(self.bundle)
