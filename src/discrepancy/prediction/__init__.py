"""A trained detector at work: scores, decisions and regions of new photographs."""

from discrepancy.prediction.detector import Detector
from discrepancy.prediction.regions import Region
from discrepancy.prediction.results import Prediction, Predictions, Unreadable

__all__ = ["Detector", "Prediction", "Predictions", "Region", "Unreadable"]
