"""Wiring of the download pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.download.nodes import place_order, summarise


def create_pipeline() -> Pipeline:
    """Parameters -> a data set in its folder, and the lines that the run ends with."""
    return Pipeline(
        [
            Node(place_order, "params:download", "photographs", name="place_order"),
            Node(summarise, ["photographs", "params:download"], "summary", name="summarise"),
        ],
        namespace="download",
        parameters={"params:download"},
    )
