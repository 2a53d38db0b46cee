"""Parameters of the calibrate pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from discrepancy.decisions.calibration import Rule
from discrepancy.devices import DeviceName
from discrepancy.parameters import Parameters


class CalibrateParameters(Parameters):
    """The photographs to calibrate with, and what the thresholds shall keep."""

    good: str = Field(
        "", description="photographs of good parts, none that was trained on: a folder with all below it, or a pattern"
    )
    defects: str = Field("", description="photographs of defective parts, in the same form; empty: none")
    false_positive_rate: float | None = Field(
        None, ge=0, lt=1, description="target: share of good images called anomalous; null: that of the detector"
    )
    rule: Rule | None = Field(
        None, description="distribution of good scores, or quantile: their order alone; null: the detector's"
    )
    segmentation: Literal["images", "pixels"] | None = Field(
        None, description="outlines keep the target as a share of good images, or of pixels; null: the detector's"
    )
    cost_miss: float | None = Field(None, ge=0, description="of a defective part that passes, with defects")
    cost_alarm: float | None = Field(None, ge=0, description="of a good part that is called anomalous, likewise")
    defect_share: float | None = Field(None, gt=0, lt=1, description="share of defective parts on the line, likewise")
    batch_size: int = Field(16, ge=1, description="photographs per forward pass")
    device: DeviceName = Field("auto", description="auto, cpu, cuda or cuda:N")

    @model_validator(mode="after")
    def _costs_together(self) -> CalibrateParameters:
        costs = (self.cost_miss, self.cost_alarm, self.defect_share)
        if any(cost is not None for cost in costs) and (None in costs or not self.defects):
            raise ValueError("costs need all of cost_miss, cost_alarm, defect_share and defects=..., or none of them")
        return self
