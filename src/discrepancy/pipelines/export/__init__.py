"""A trained detector as a bundle that needs no PyTorch."""

from discrepancy.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
