"""Answers of the server: JSON of a result, with its types for OpenAPI."""

from __future__ import annotations

import base64
import math

from PIL import Image
from pydantic import BaseModel, Field

from discrepancy.export.detect import Result
from discrepancy.serving.pictures import coloured_map, jpeg


class RegionResponse(BaseModel):
    """An outlined region: its box and area in px of the photograph, and its highest anomaly."""

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float


class PredictionResponse(BaseModel):
    """The result for one photograph."""

    file: str = Field(description="name of the file, as it was sent")
    decision: str = Field(description="`anomalous` or `good`")
    score: float = Field(description="higher = more anomalous")
    threshold: float = Field(description="photographs with a higher score are anomalous")
    relative_score: float | None = Field(description="score / threshold")
    false_alarm_probability: float | None = Field(
        description="share of good parts that are expected to score at least so high; null: not known"
    )
    regions: list[RegionResponse] = Field(description="outlined regions, the highest peak first")
    width: int = Field(description="of the photograph, px")
    height: int = Field(description="of the photograph, px")
    seconds: float = Field(description="that the network took, its share of a batch")
    overlay: str | None = Field(None, description="with pictures=true: the outline, a data URI of a JPEG file")
    map: str | None = Field(None, description="with pictures=true: the anomaly map, a data URI of a JPEG file")


class HealthResponse(BaseModel):
    """State of the server, and its detector."""

    status: str = "ok"
    title: str
    method: str
    dataset: str
    category: str
    image_size: tuple[int, int]
    threshold: float


def prediction_response(result: Result, overlay: Image.Image | None = None) -> PredictionResponse:
    """Return the result for a photograph.

    Args:
        result: the result.
        overlay: if it is given, the answer has this picture, and the anomaly map.
    """
    height, width = result.size
    return PredictionResponse(
        file=result.name,
        decision="anomalous" if result.anomalous else "good",
        score=result.score,
        threshold=result.threshold,
        relative_score=_number(result.score / result.threshold if result.threshold else math.nan),
        false_alarm_probability=_number(result.false_alarm_probability),
        regions=[RegionResponse(**region._asdict()) for region in result.regions],
        width=width,
        height=height,
        seconds=round(result.seconds, 4),
        overlay=_uri(overlay) if overlay else None,
        map=_uri(coloured_map(result)) if overlay else None,
    )


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _uri(image: Image.Image) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(image)).decode()}"
