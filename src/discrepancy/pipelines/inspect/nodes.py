"""Tables, contact sheet and page of a report."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from discrepancy.data import data_report_tables
from discrepancy.data.checks import ERROR, NOTE, WARNING
from discrepancy.data.data_report import DataReport
from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import DEMO
from discrepancy.figures.contact_sheet import contact_sheet
from discrepancy.figures.html import html_page, html_picture, html_table
from discrepancy.figures.tables import text_table

NAMED = 12
"""Problems that the terminal names; the page has them all."""


def tabulate_data_report(report: DataReport) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return tables: counts per split and defect; every image with its measures; problems; files left out, and why."""
    return data_report_tables.counts(report), report.files, report.problems, report.left_out


def draw_contact_sheet(report: DataReport, ingestion: IngestionParameters) -> Figure:
    """Draw a few photographs of every kind, and those with problems."""
    named = report.problems[report.problems["file"] != ""]["file"].nunique()
    sections = {**report.thumbnails, f"with problems ({len(report.flagged)} of {named} files)": report.flagged}
    return contact_sheet(sections, title=_title(ingestion), subtitle=_summary(report))


def write_page(report: DataReport, sheet: np.ndarray, ingestion: IngestionParameters) -> str:
    """Write the data report as one HTML page.

    Args:
        report: of the category.
        sheet: its contact sheet, uint8 [H, W, 3].
        ingestion: what the networks are shown of the photographs.
    """
    height, width = ingestion.size
    parts = [
        ("Problems", html_table(report.problems, empty="none found")),
        ("Counts", html_table(data_report_tables.counts(report))),
        ("Sizes and kinds of pixels", html_table(data_report_tables.kinds(report), most=50)),
        (f"Marked share of an image; masks lost at {height}x{width}", html_table(data_report_tables.coverage(report))),
        ("Photographs", html_picture(sheet, f"contact sheet of {_title(ingestion)}")),
        ("Files that are not used", html_table(report.left_out)),
    ]
    return html_page(_title(ingestion), parts, intro=_summary(report))


def summarise(report: DataReport, ingestion: IngestionParameters) -> str:
    """Write the few lines that a run ends with."""
    lines = [_title(ingestion), "", text_table(data_report_tables.counts(report)), "", _summary(report)]
    listed = report.problems.head(NAMED)
    for severity, file, problem, detail in listed.itertuples(index=False):
        lines.append(f"{severity:<8}{f'{file}: ' if file else ''}{problem}: {detail}")
    if len(report.problems) > NAMED:
        lines.append(f"... and {len(report.problems) - NAMED} more")
    return "\n".join([*lines, ""])


def _title(ingestion: IngestionParameters) -> str:
    synthetic = " (synthetic images)" if ingestion.dataset == DEMO else ""
    return f"{ingestion.dataset}/{ingestion.category}{synthetic}"


def _summary(report: DataReport) -> str:
    found = {severity: int((report.problems["severity"] == severity).sum()) for severity in (ERROR, WARNING, NOTE)}
    counted = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in found.items() if count)
    ending = "; with an error no run begins" if found[ERROR] else ""
    others = f"{len(report.left_out)} other {'entry' if len(report.left_out) == 1 else 'entries'}"
    return f"{len(report.files)} images, {others}; {counted or 'no problem found'}{ending}."
