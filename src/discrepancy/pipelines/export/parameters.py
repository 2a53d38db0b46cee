"""Parameters of the export pipeline."""

from __future__ import annotations

from pydantic import Field

from discrepancy.export.comparison import EXACT, FROM_FILES
from discrepancy.parameters import Parameters


class ExportParameters(Parameters):
    """Largest differences from PyTorch."""

    tolerance: float = Field(
        EXACT, gt=0, description="largest difference from PyTorch's maps and scores for the same images, relative"
    )
    file_tolerance: float = Field(
        FROM_FILES,
        gt=0,
        description="largest difference of scores from the same files, read and resized by the bundle, relative",
    )
