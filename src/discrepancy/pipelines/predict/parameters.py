"""Parameters of the predict pipeline."""

from __future__ import annotations

from pydantic import Field

from discrepancy.devices import DeviceName
from discrepancy.parameters import Parameters


class PredictParameters(Parameters):
    """The photographs to examine, and what is written of each."""

    input: str = Field("", description="a photograph, a folder with all below it, or a pattern")
    overlays: bool = Field(True, description="the outline over each photograph, as JPEG files")
    maps: bool = Field(False, description="raw anomaly maps at each photograph's size, as TIFF files of float32")
    masks: bool = Field(False, description="outlined regions at each photograph's size, as PNG files")
    page: bool = Field(True, description="predictions.html, with a thumbnail of each photograph")
    batch_size: int = Field(16, ge=1, description="photographs per forward pass")
    device: DeviceName = Field("auto", description="auto, cpu, cuda or cuda:N")
    scheduler: str = Field("", description="address of a Dask scheduler, tcp://host:port; empty: this process")
