"""Our Kedro datasets: photographs, arrays, cached features, detectors, checkpoints, figures, pictures."""

from discrepancy.datasets.array import ArrayDataset
from discrepancy.datasets.detector import CheckpointDataset, DetectorDataset
from discrepancy.datasets.features import FeaturesDataset
from discrepancy.datasets.figure import FigureDataset
from discrepancy.datasets.photographs import PhotographsDataset
from discrepancy.datasets.pictures import PicturesDataset

__all__ = [
    "ArrayDataset",
    "CheckpointDataset",
    "DetectorDataset",
    "FeaturesDataset",
    "FigureDataset",
    "PhotographsDataset",
    "PicturesDataset",
]
