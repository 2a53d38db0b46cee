"""Tables and page of a benchmark, from what is on disk."""

from discrepancy.pipelines.benchmark_report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
