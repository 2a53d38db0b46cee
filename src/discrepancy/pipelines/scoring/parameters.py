"""Parameters of the scoring pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from discrepancy.decisions.calibration import DEFAULT_RULE, Rule
from discrepancy.devices import DeviceName
from discrepancy.parameters import Parameters


class ScoringParameters(Parameters):
    """Batch size of scoring, target false-alarm rate and rule of the thresholds, and the optional metric."""

    RUNTIME_FIELDS = frozenset({"device", "batch_size"})

    device: DeviceName = Field("auto", description="auto, cpu, cuda or cuda:N")
    batch_size: int = Field(16, ge=1, description="images of up to 256x256 px per forward pass, of larger ones fewer")
    false_positive_rate: float = Field(0.01, ge=0, lt=1, description="target: share of good images called anomalous")
    rule: Rule = Field(DEFAULT_RULE, description="distribution of good scores, or quantile: their order alone")
    segmentation: Literal["images", "pixels"] = Field(
        "images", description="outlines keep the target as a share of good images, or of good pixels as in the papers"
    )
    papers_pro: bool = Field(False, description="also the AUPRO as the papers' programs approximate it")
