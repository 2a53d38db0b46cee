"""The pipelines that `kedro run --pipelines=...` knows."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from discrepancy.pipelines import dfc, ingestion, reporting, scoring

METHODS = {"dfc": dfc}


def register_pipelines() -> dict[str, Pipeline]:
    """One pipeline per method, from photographs to report; `ingestion` alone; DFC by default."""
    pipelines = {
        name: ingestion.create_pipeline()
        + method.create_pipeline()
        + scoring.create_pipeline(name)
        + reporting.create_pipeline(name)
        for name, method in METHODS.items()
    }
    return {**pipelines, "ingestion": ingestion.create_pipeline(), "__default__": pipelines["dfc"]}
