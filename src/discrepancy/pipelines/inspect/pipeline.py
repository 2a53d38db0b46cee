"""Wiring of the inspect pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.inspect.nodes import draw_contact_sheet, summarise, tabulate_survey, write_page


def create_pipeline() -> Pipeline:
    """A survey of the photographs -> tables, contact sheet, page and the lines that a run ends with."""
    tables = ["counts_table", "files_table", "problems_table", "left_out_table"]
    return Pipeline(
        [
            Node(tabulate_survey, "survey", tables, name="tabulate_survey"),
            Node(draw_contact_sheet, ["survey", "params:ingestion"], "contact_figure", name="draw_contact_sheet"),
            Node(write_page, ["survey", "contact_figure", "params:ingestion"], "page", name="write_page"),
            Node(summarise, ["survey", "params:ingestion"], "summary", name="summarise"),
        ],
        namespace="inspect",
        inputs={"survey"},
        parameters={"params:ingestion"},
        tags=["inspect"],
    )
