"""Features and training of DFC."""

from discrepancy.pipelines.dfc.pipeline import create_pipeline

__all__ = ["create_pipeline"]
