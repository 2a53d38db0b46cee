"""Wiring of the calibrate pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.calibrate.nodes import (
    calibrate,
    draw_drift,
    draw_roc,
    measure,
    score_photographs,
    summarise,
    tabulate,
)


def create_pipeline() -> Pipeline:
    """Wire a detector and new photographs of good parts -> the detector with new thresholds, and what has changed."""
    parameters = "params:calibrate"
    return Pipeline(
        [
            Node(score_photographs, ["detector", parameters, "params:method"], "photographs", name="score_photographs"),
            Node(calibrate, ["detector", "photographs", parameters], ["calibrated", "card"], name="calibrate"),
            Node(measure, ["detector", "photographs", "card"], "values", name="measure"),
            Node(tabulate, ["photographs", "card"], "scores", name="tabulate"),
            Node(draw_drift, ["detector", "photographs", "card"], "drift_figure", name="draw_drift"),
            Node(draw_roc, ["photographs", "card"], "roc_figure", name="draw_roc"),
            Node(summarise, ["detector", "photographs", "card", "values", parameters], "summary", name="summarise"),
        ],
        namespace="calibrate",
        parameters={parameters, "params:method"},
        tags=["calibrate"],
    )
