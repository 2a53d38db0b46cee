"""The pipelines that `kedro run --pipelines=...` knows."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from discrepancy.pipelines import benchmark_report, dfc, dfr, download, fod, ingestion, inspect, reporting, scoring

METHODS = {"dfc": dfc, "dfr": dfr, "fod": fod}
REPORTS = {"fod": fod.create_reporting}
"""What the report of single methods has besides."""


def register_pipelines() -> dict[str, Pipeline]:
    """One pipeline per method, from photographs to report; `ingestion` alone; three of other uses; DFC by default."""
    first = _stage("ingestion", ingestion.create_pipeline())
    pipelines = {
        name: first
        + _stage("training", method.create_pipeline())
        + _stage("scoring", scoring.create_pipeline(name))
        + _stage("reporting", reporting.create_pipeline(name) + REPORTS.get(name, _nothing)())
        for name, method in METHODS.items()
    }
    others = {"ingestion": first} | {
        name: part.create_pipeline()
        for name, part in {"inspect": inspect, "download": download, "benchmark_report": benchmark_report}.items()
    }
    return {**pipelines, **others, "__default__": pipelines["dfc"]}


def _stage(name: str, pipeline: Pipeline) -> Pipeline:
    """The same pipeline as one box of the graph, and `kedro run --namespaces=name`; its datasets keep their names."""
    return Pipeline(pipeline, namespace=name, prefix_datasets_with_namespace=False)


def _nothing() -> Pipeline:
    return Pipeline([])
