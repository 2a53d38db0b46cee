"""Wiring of the scoring pipeline: one template for every method."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.scoring.nodes import evaluate_test, score_test, score_validation, set_thresholds


def create_pipeline(method: str) -> Pipeline:
    """Wire a trained detector -> thresholds -> anomaly maps -> metrics.

    Args:
        method: its name, the namespace.
    """
    scored = ["images", "samples", "params:scoring"]
    return Pipeline(
        [
            Node(score_validation, ["trained", *scored], "validation_maps", name="score_validation"),
            Node(
                set_thresholds,
                ["trained", "validation_maps", "params:scoring"],
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
        namespace=method,
        inputs={"images", "samples", "masks"},
        parameters={"params:scoring"},
        tags=["scoring"],
    )
