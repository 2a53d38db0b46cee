"""Wiring of the download pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.download.nodes import request_download, summarise


def create_pipeline() -> Pipeline:
    """Build the pipeline: parameters -> a data set in its folder, and the lines that the run ends with."""
    return Pipeline(
        [
            Node(request_download, "params:download", "photographs", name="request_download"),
            Node(summarise, ["photographs", "params:download"], "summary", name="summarise"),
        ],
        namespace="download",
        parameters={"params:download"},
    )
