"""Parameters of the export pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from discrepancy.export.comparison import EXACT, FROM_FILES
from discrepancy.parameters import Parameters


class ExportParameters(Parameters):
    """Numbers of the graph, and largest differences from PyTorch."""

    quantise: Literal["none", "int8"] = Field(
        "none", description="int8: convolutions in 8-bit integers, ranges calibrated on good training images"
    )

    int8_tolerance: float = Field(
        0.05,
        gt=0,
        description="largest mean change of the maps of held-out images by int8, relative; convolutions that change "
        "more stay in float32",
    )
    tolerance: float = Field(
        EXACT, gt=0, description="largest difference from PyTorch's maps and scores for the same images, relative"
    )
    file_tolerance: float = Field(
        FROM_FILES,
        gt=0,
        description="largest difference of scores from the same files, read and resized by the bundle, relative",
    )
