"""A look at the photographs before any training."""

from discrepancy.pipelines.inspect.pipeline import create_pipeline

__all__ = ["create_pipeline"]
