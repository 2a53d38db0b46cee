"""Interface of a demo category: draw a scene, add a defect, build its surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from discrepancy.demo.surface import Grid, Surface

Scene = TypeVar("Scene")


@dataclass(frozen=True)
class Part(Generic[Scene]):
    """A category. A scene is a frozen record of everything that varies from piece to piece.

    `draw` makes a good scene; each of `defects` returns the same scene with one defect. `build` is deterministic, so
    a scene and its spoiled copy differ nowhere but at the defect.
    """

    draw: Callable[[np.random.Generator], Scene]
    build: Callable[[Scene, Grid], Surface]
    defects: Mapping[str, Callable[[Scene, np.random.Generator], Scene]]


def named(*defects: Callable[[Scene, np.random.Generator], Scene]) -> dict[str, Callable]:
    """Return the functions by their own names, which are the folders' names in the data set."""
    return {function.__name__: function for function in defects}
