"""Reporting pipeline: tables, curves and the gallery, the same for every method."""

from discrepancy.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
