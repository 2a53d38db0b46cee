"""Features and training of FOD."""

from discrepancy.pipelines.fod.pipeline import create_pipeline

__all__ = ["create_pipeline"]
