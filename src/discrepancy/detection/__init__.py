"""Trained detectors: saving, loading, and scoring of many images."""

from discrepancy.detection.scoring import LazyScores, ScoredMaps
from discrepancy.detection.storage import load_method, save_method

__all__ = ["LazyScores", "ScoredMaps", "load_method", "save_method"]
