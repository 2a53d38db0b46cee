"""A trained detector at work on new photographs."""

from discrepancy.pipelines.predict.pipeline import create_pipeline

__all__ = ["create_pipeline"]
