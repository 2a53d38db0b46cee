"""The pipelines of `kedro run --pipelines=...`."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from discrepancy.methods.base import Method
from discrepancy.methods.registry import DEFAULT, METHODS
from discrepancy.pipelines import (
    benchmark_report,
    calibrate,
    download,
    export,
    ingestion,
    inspect,
    predict,
    reporting,
    scoring,
    training,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return a pipeline per method, from photographs to report, and those of ingestion and other uses.

    `__default__` is the pipeline of the default method.
    """
    methods = {name: _whole(method) for name, method in METHODS.items()}
    others = {
        "ingestion": _stage("ingestion", ingestion.create_pipeline()),
        "predict": predict.create_pipeline(),
        "calibrate": calibrate.create_pipeline(),
        "export": export.create_pipeline(),
        "inspect": inspect.create_pipeline(),
        "download": download.create_pipeline(),
        "benchmark_report": benchmark_report.create_pipeline(),
    }
    return {**methods, **others, "__default__": methods[DEFAULT]}


def _whole(method: type[Method]) -> Pipeline:
    """Return the pipeline from photographs to report."""
    return (
        _stage("ingestion", ingestion.create_pipeline())
        + _stage("training", training.create_pipeline(method))
        + _stage("scoring", scoring.create_pipeline(method.name))
        + _stage("reporting", reporting.create_pipeline(method))
    )


def _stage(name: str, pipeline: Pipeline) -> Pipeline:
    """Return the pipeline as one box of the graph, for `kedro run --namespaces=name`; datasets keep their names."""
    return Pipeline(pipeline, namespace=name, prefix_datasets_with_namespace=False)
