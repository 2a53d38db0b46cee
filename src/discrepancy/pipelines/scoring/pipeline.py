"""Wiring of the scoring pipeline: one template for every method."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.annotated import annotated
from discrepancy.methods.base import Method
from discrepancy.pipelines.scoring.nodes import evaluate_test, score_held_out, score_test, set_thresholds


def create_pipeline(method: type[Method]) -> Pipeline:
    """Wire a trained detector -> thresholds -> anomaly maps -> metrics."""
    scored = ["images", "samples", "params:scoring"]
    training = f"params:{method.name}"
    # For cross-fitting, which trains anew:
    learnt_from = ["features", "checkpoint"] if method.uses_cache else []
    return Pipeline(
        [
            Node(
                annotated(score_held_out, training=method.Parameters),
                ["trained", *scored, "params:ingestion", training, *learnt_from],
                "validation_maps",
                name="score_held_out",
            ),
            Node(
                set_thresholds,
                ["trained", "validation_maps", "samples", "params:scoring", "params:ingestion"],
                ["detector", "card"],
                name="set_thresholds",
            ),
            Node(score_test, ["detector", *scored], "maps", name="score_test"),
            Node(
                evaluate_test,
                ["card", "maps", "masks", "samples", "history", "params:scoring"],
                ["metrics", "scores"],
                name="evaluate",
            ),
        ],
        namespace=method.name,
        inputs={"images", "samples", "masks"},
        parameters={"params:scoring", "params:ingestion", training},
        tags=["scoring"],
    )
