"""Parameters of the reporting pipeline."""

from __future__ import annotations

from pydantic import Field

from discrepancy.parameters import Parameters


class ReportingParameters(Parameters):
    """Contents of the report."""

    worst: int = Field(4, ge=0, description="hardest cases in the gallery")
    best: int = Field(4, ge=0, description="clearest cases in the gallery")
    segmentations: bool = Field(True, description="score map, binary map and outline of each test image, as files")
    original_maps: bool = Field(False, description="raw anomaly maps at each photograph's own size, as TIFF files")
    animation: bool = Field(False, description="animated GIF: photograph, anomaly map, decision of the test images")
