"""Our Kedro datasets."""

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
