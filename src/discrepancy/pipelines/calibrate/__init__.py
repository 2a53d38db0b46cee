"""New thresholds for a trained detector, from new photographs of good parts."""

from discrepancy.pipelines.calibrate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
