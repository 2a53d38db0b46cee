"""Wiring of FOD's own steps."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.fod.nodes import (
    best_epoch_on_test,
    draw_correlations,
    plan_features,
    plan_reference,
    train,
)


def create_pipeline() -> Pipeline:
    """Images -> fod.features -> fod.reference -> fod.trained and its history; and the oracle, which is off."""
    given = ["params:fod", "params:ingestion"]
    learnt_from = ["samples", "features", "reference"]
    return Pipeline(
        [
            Node(plan_features, ["images", "samples", *given], "features", name="extract_features"),
            Node(plan_reference, ["samples", "features"], "reference", name="average_features"),
            Node(train, [*learnt_from, "checkpoint", *given], ["trained", "history"], name="train"),
            Node(
                best_epoch_on_test,
                ["images", "masks", *learnt_from, "oracle_checkpoint", *given],
                "oracle",
                name="best_epoch_on_test",
            ),
        ],
        namespace="fod",
        inputs={"images", "samples", "masks"},
        parameters={"params:fod", "params:ingestion"},
        tags=["training"],
    )


def create_reporting() -> Pipeline:
    """What FOD's report has besides: pictures of its correlations."""
    return Pipeline(
        [
            Node(
                draw_correlations,
                ["detector", "images", "masks", "maps", "scores", "params:fod"],
                "correlation_figure",
                name="draw_correlations",
            )
        ],
        namespace="fod",
        inputs={"images", "masks"},
        parameters={"params:fod"},
        tags=["reporting"],
    )
