"""Our Kedro datasets. A module is imported when a dataset of it is first asked for: PyTorch takes seconds."""

from __future__ import annotations

from typing import Final

from discrepancy.lazy_names import lazy_names

_HOMES: Final = {
    "ArrayDataset": "discrepancy.datasets.array",
    "BenchmarkDataset": "discrepancy.datasets.benchmark",
    "BundleDataset": "discrepancy.datasets.bundle",
    "CardDataset": "discrepancy.datasets.detector",
    "CheckpointDataset": "discrepancy.datasets.detector",
    "DataReportDataset": "discrepancy.datasets.data_report",
    "DetectorDataset": "discrepancy.datasets.detector",
    "DownloadDataset": "discrepancy.datasets.download",
    "ExportPhotographsDataset": "discrepancy.datasets.photographs",
    "FeaturesDataset": "discrepancy.datasets.features",
    "FigureDataset": "discrepancy.datasets.figure",
    "PageDataset": "discrepancy.datasets.benchmark",
    "PhotographsDataset": "discrepancy.datasets.photographs",
    "PicturesDataset": "discrepancy.datasets.pictures",
    "PredictionsDataset": "discrepancy.datasets.prediction",
    "SamplesDataset": "discrepancy.datasets.files",
    "ScoredMapsDataset": "discrepancy.datasets.scored_maps",
    "TableDataset": "discrepancy.datasets.files",
    "TextDataset": "discrepancy.datasets.files",
    "TrainedDetectorDataset": "discrepancy.datasets.prediction",
    "ValuesDataset": "discrepancy.datasets.files",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
