"""Wiring of the predict pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.predict.nodes import examine, find_photographs, summarise, tabulate, write_page


def create_pipeline() -> Pipeline:
    """Wire a detector and photographs -> table, pictures and page of predictions."""
    parameters = "params:predict"
    return Pipeline(
        [
            Node(find_photographs, ["store", parameters], "photographs", name="find_photographs"),
            Node(examine, ["detector", "photographs", "store", parameters], "entries", name="examine"),
            Node(tabulate, "entries", "predictions", name="tabulate"),
            Node(write_page, ["entries", "detector", parameters], "page", name="write_page"),
            Node(summarise, ["predictions", "detector", parameters], "summary", name="summarise"),
        ],
        namespace="predict",
        parameters={parameters},
        tags=["predict"],
    )
