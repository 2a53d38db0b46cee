"""Our Kedro datasets. A module is imported when a dataset of it is first asked for: PyTorch takes seconds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from discrepancy.datasets.array import ArrayDataset
    from discrepancy.datasets.benchmark import BenchmarkDataset, PageDataset
    from discrepancy.datasets.bundle import BundleDataset
    from discrepancy.datasets.data_report import DataReportDataset
    from discrepancy.datasets.detector import CardDataset, CheckpointDataset, DetectorDataset
    from discrepancy.datasets.download import DownloadDataset
    from discrepancy.datasets.features import FeaturesDataset
    from discrepancy.datasets.figure import FigureDataset
    from discrepancy.datasets.files import SamplesDataset, TableDataset, TextDataset, ValuesDataset
    from discrepancy.datasets.photographs import ExportPhotographsDataset, PhotographsDataset
    from discrepancy.datasets.pictures import PicturesDataset
    from discrepancy.datasets.prediction import PredictionsDataset, TrainedDetectorDataset
    from discrepancy.datasets.scored_maps import ScoredMapsDataset

__all__ = [
    "ArrayDataset",
    "BenchmarkDataset",
    "BundleDataset",
    "CardDataset",
    "CheckpointDataset",
    "DataReportDataset",
    "DetectorDataset",
    "DownloadDataset",
    "ExportPhotographsDataset",
    "FeaturesDataset",
    "FigureDataset",
    "PageDataset",
    "PhotographsDataset",
    "PicturesDataset",
    "PredictionsDataset",
    "SamplesDataset",
    "ScoredMapsDataset",
    "TableDataset",
    "TextDataset",
    "TrainedDetectorDataset",
    "ValuesDataset",
]

_HOMES: Final = {
    "ArrayDataset": "discrepancy.datasets.array",
    "BenchmarkDataset": "discrepancy.datasets.benchmark",
    "PageDataset": "discrepancy.datasets.benchmark",
    "BundleDataset": "discrepancy.datasets.bundle",
    "DataReportDataset": "discrepancy.datasets.data_report",
    "CardDataset": "discrepancy.datasets.detector",
    "CheckpointDataset": "discrepancy.datasets.detector",
    "DetectorDataset": "discrepancy.datasets.detector",
    "DownloadDataset": "discrepancy.datasets.download",
    "FeaturesDataset": "discrepancy.datasets.features",
    "FigureDataset": "discrepancy.datasets.figure",
    "SamplesDataset": "discrepancy.datasets.files",
    "TableDataset": "discrepancy.datasets.files",
    "TextDataset": "discrepancy.datasets.files",
    "ValuesDataset": "discrepancy.datasets.files",
    "ExportPhotographsDataset": "discrepancy.datasets.photographs",
    "PhotographsDataset": "discrepancy.datasets.photographs",
    "PicturesDataset": "discrepancy.datasets.pictures",
    "PredictionsDataset": "discrepancy.datasets.prediction",
    "TrainedDetectorDataset": "discrepancy.datasets.prediction",
    "ScoredMapsDataset": "discrepancy.datasets.scored_maps",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
