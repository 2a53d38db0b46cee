"""A public data set from the web, once its licence is accepted."""

from discrepancy.pipelines.download.pipeline import create_pipeline

__all__ = ["create_pipeline"]
