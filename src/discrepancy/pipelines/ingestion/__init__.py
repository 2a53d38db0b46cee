"""Ingestion pipeline: photographs on disk to a sample table, images and masks."""

from discrepancy.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
