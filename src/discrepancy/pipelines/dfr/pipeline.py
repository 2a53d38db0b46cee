"""Wiring of DFR's own steps."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.dfr.nodes import choose_latent_dim, plan_features, train


def create_pipeline() -> Pipeline:
    """Images -> dfr.features -> dfr.latent -> dfr.trained and its history."""
    given = ["params:dfr", "params:ingestion"]
    return Pipeline(
        [
            Node(plan_features, ["images", "samples", *given], "features", name="extract_features"),
            Node(choose_latent_dim, ["samples", "features", *given], "latent", name="choose_latent_dim"),
            Node(
                train,
                ["samples", "features", "latent", "checkpoint", *given],
                ["trained", "history"],
                name="train",
            ),
        ],
        namespace="dfr",
        inputs={"images", "samples"},
        parameters={"params:dfr", "params:ingestion"},
        tags=["training"],
    )
