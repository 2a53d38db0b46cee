"""Features and training of FOD."""

from discrepancy.pipelines.fod.pipeline import create_pipeline, create_reporting

__all__ = ["create_pipeline", "create_reporting"]
