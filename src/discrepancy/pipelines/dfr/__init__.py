"""Features and training of DFR."""

from discrepancy.pipelines.dfr.pipeline import create_pipeline

__all__ = ["create_pipeline"]
