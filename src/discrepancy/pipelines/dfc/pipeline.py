"""Wiring of DFC's own steps."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.dfc.nodes import plan_features, train


def create_pipeline() -> Pipeline:
    """Images -> dfc.features -> dfc.trained and its history."""
    return Pipeline(
        [
            Node(
                plan_features,
                ["images", "samples", "params:dfc", "params:ingestion"],
                "features",
                name="extract_features",
            ),
            Node(
                train,
                ["images", "samples", "features", "checkpoint", "params:dfc", "params:ingestion"],
                ["trained", "history"],
                name="train",
            ),
        ],
        namespace="dfc",
        inputs={"images", "samples"},
        parameters={"params:dfc", "params:ingestion"},
        tags=["training"],
    )
