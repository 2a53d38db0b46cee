"""Wiring of the benchmark report."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.benchmark_report.nodes import print_summary, tabulate_results, write_markdown, write_page


def create_pipeline() -> Pipeline:
    """Build the pipeline: results of a benchmark -> tables, page and the table that a run ends with."""
    tables = ["results_table", "summary_table", "comparison_table", "ranks_table"]
    shown = ["benchmark", "summary_table", "comparison_table"]
    return Pipeline(
        [
            Node(tabulate_results, "benchmark", tables, name="tabulate_results"),
            Node(write_markdown, shown, "markdown", name="write_markdown"),
            Node(write_page, [*shown, "ranks_table"], "page", name="write_page"),
            Node(print_summary, ["benchmark", "summary_table"], "summary", name="print_summary"),
        ],
        namespace="benchmark_report",
        inputs={"benchmark"},
        tags=["benchmark_report"],
    )
