"""Scoring pipeline: anomaly maps, thresholds and metrics, the same for every method."""

from discrepancy.pipelines.scoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
