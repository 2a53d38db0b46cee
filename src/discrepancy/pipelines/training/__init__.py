"""Training pipeline: features and training, one template for every method."""

from discrepancy.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
