"""Wiring of the export pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.export.nodes import compare_with_pytorch, export_graph, pack, quantise_graph, summarise


def create_pipeline() -> Pipeline:
    """Wire a detector and photographs -> an ONNX graph, its comparison with PyTorch, and the bundle."""
    parameters = "params:export"
    return Pipeline(
        [
            Node(export_graph, "detector", "graph", name="export_graph"),
            Node(quantise_graph, ["detector", "graph", "photographs", parameters], "exported", name="quantise"),
            Node(compare_with_pytorch, ["exported", "photographs"], "compared", name="compare_with_pytorch"),
            Node(pack, ["exported", "compared", parameters], "bundle", name="pack"),
            Node(summarise, ["exported", "bundle", "compared"], "summary", name="summarise"),
        ],
        namespace="export",
        parameters={parameters},
        tags=["export"],
    )
