"""Wiring of the reporting pipeline: one template for every method."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.methods.base import Method
from discrepancy.methods.gradient import GradientMethod
from discrepancy.pipelines.reporting.nodes import (
    animate,
    draw_curves,
    draw_gallery,
    draw_loss,
    draw_scores,
    draw_segmentations,
    resize_maps,
    summarise,
    tabulate,
)
from discrepancy.pipelines.reporting.page import write_report


def create_pipeline(method: type[Method]) -> Pipeline:
    """Wire maps, scores and metrics -> table, figures, segmentations, the summary and the report of a run.

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
        Node(animate, ["images", "maps", "scores", "card", "params:reporting"], "animation", name="animate"),
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
    nodes.append(Node(write_report, _contents(nodes), "report", name="write_report"))
    return Pipeline(
        nodes,
        namespace=method.name,
        inputs={"images", "masks", "samples", "run_links"},
        parameters={name for node in nodes for name in node.inputs if name.startswith("params:")},
        tags=["reporting"],
    )


def _contents(nodes: list[Node]) -> dict[str, str]:
    """Return what the report is made of, by the arguments of its node: every figure of the pipeline is in it."""
    names = ("images", "masks", "scores", "table", "metrics", "samples", "card", "run_links")
    groups = ("ingestion", "scoring", "reporting")
    figures = [name for node in nodes for name in node.outputs if name.endswith("_figure")]
    return {
        **{name: name for name in names},
        "scored": "maps",
        **{name: f"params:{name}" for name in groups},
        **{name: name for name in figures},
    }
