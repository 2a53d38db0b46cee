"""What all sections are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from discrepancy.devices import Precision


@dataclass(frozen=True)
class Options:
    """Sizes and places.

    Attributes:
        device: where to measure.
        tiny: small sizes that a slow CPU finishes in seconds.
        folder: for feature caches and checkpoints; temporary.
        methods: those looked at.
        precisions: those looked at, names of `precision.MODES`.
    """

    device: torch.device
    tiny: bool
    folder: Path
    methods: tuple[str, ...]
    precisions: tuple[Precision, ...]

    @property
    def cache(self) -> Path:
        """The folder of the feature cache."""
        return self.folder / "cache"

    @property
    def images(self) -> int:
        """Images of the checks that compare numbers."""
        return 4 if self.tiny else 8

    @property
    def side(self) -> int:
        """Their height and width, px."""
        return 80 if self.tiny else 96

    @property
    def steps(self) -> int:
        """Training steps of a comparison with the CPU."""
        return 2 if self.tiny else 5
