"""Wiring of the inspect pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.inspect.nodes import draw_contact_sheet, summarise, tabulate_data_report, write_page


def create_pipeline() -> Pipeline:
    """Build the pipeline: report on the photographs -> tables, contact sheet, page and summary."""
    tables = ["counts_table", "files_table", "problems_table", "left_out_table"]
    return Pipeline(
        [
            Node(tabulate_data_report, "data_report", tables, name="tabulate_data_report"),
            Node(draw_contact_sheet, ["data_report", "params:ingestion"], "contact_figure", name="draw_contact_sheet"),
            Node(write_page, ["data_report", "contact_figure", "params:ingestion"], "page", name="write_page"),
            Node(summarise, ["data_report", "params:ingestion"], "summary", name="summarise"),
        ],
        namespace="inspect",
        inputs={"data_report"},
        parameters={"params:ingestion"},
        tags=["inspect"],
    )
