"""Wiring of the reporting pipeline: one template for every method."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.methods.base import Method
from discrepancy.methods.gradient import GradientMethod
from discrepancy.pipelines.reporting.nodes import (
    draw_curves,
    draw_gallery,
    draw_loss,
    draw_scores,
    draw_segmentations,
    resize_maps,
    summarise,
    tabulate,
)


def create_pipeline(method: type[Method]) -> Pipeline:
    """Wire maps, scores and metrics -> table, curves, gallery, segmentations and the summary of a run.

    Args:
        method: the method.
    """
    nodes = [
        Node(tabulate, ["maps", "masks", "scores", "metrics"], "table", name="tabulate"),
        Node(
            draw_gallery,
            ["images", "masks", "maps", "scores", "card", "params:reporting"],
            "gallery_figure",
            name="draw_gallery",
        ),
        Node(
            draw_segmentations,
            ["images", "maps", "scores", "card", "params:reporting"],
            "segmentations",
            name="draw_segmentations",
        ),
        Node(
            resize_maps,
            ["maps", "samples", "params:ingestion", "params:reporting"],
            "original_maps",
            name="resize_maps",
        ),
        Node(draw_curves, ["maps", "masks", "scores", "metrics"], ["roc_figure", "pro_figure"], name="draw_curves"),
        Node(draw_scores, ["scores", "card"], "scores_figure", name="draw_scores"),
        Node(summarise, ["table", "metrics", "card"], "summary", name="summarise"),
    ]
    if issubclass(method, GradientMethod):
        nodes.append(Node(draw_loss, "history", "loss_figure", name="draw_loss"))
    extras = [extra for extra in method.extra_steps() if extra.stage == "reporting"]
    nodes += [Node(extra.compute, list(extra.inputs), extra.output, name=extra.step) for extra in extras]
    return Pipeline(
        nodes,
        namespace=method.name,
        inputs={"images", "masks", "samples"},
        parameters={name for node in nodes for name in node.inputs if name.startswith("params:")},
        tags=["reporting"],
    )
