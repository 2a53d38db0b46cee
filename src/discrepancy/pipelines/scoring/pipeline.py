"""Wiring of the scoring pipeline: one template for every method."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.scoring.nodes import evaluate_test, score_test, set_thresholds


def create_pipeline(method: str) -> Pipeline:
    """Wire a trained detector and its maps of held-out images -> thresholds -> anomaly maps -> metrics.

    Args:
        method: its name, the namespace.
    """
    return Pipeline(
        [
            Node(
                set_thresholds,
                ["trained", "validation_maps", "samples", "params:scoring", "params:ingestion"],
                ["detector", "card"],
                name="set_thresholds",
            ),
            Node(score_test, ["detector", "images", "samples", "params:scoring"], "maps", name="score_test"),
            Node(
                evaluate_test,
                ["card", "maps", "masks", "samples", "history", "params:scoring"],
                ["metrics", "scores"],
                name="evaluate",
            ),
        ],
        namespace=method,
        inputs={"images", "samples", "masks"},
        parameters={"params:scoring", "params:ingestion"},
        tags=["scoring"],
    )
