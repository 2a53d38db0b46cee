"""Tables, contact sheet and page of a survey."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from discrepancy.figures.contact_sheet import contact_sheet
from discrepancy.figures.html import html_page, html_picture, html_table
from discrepancy.figures.tables import text_table
from discrepancy.inspection import census
from discrepancy.inspection.parameters import IngestionParameters
from discrepancy.inspection.photographs import DEMO
from discrepancy.inspection.problems import ERROR, NOTE, WARNING
from discrepancy.inspection.survey import Survey

NAMED = 12
"""Problems that the terminal names; the page has them all."""


def tabulate_survey(survey: Survey) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Counts per split and defect; every image with what it is like; problems; what is left out, and why."""
    return census.counts(survey), survey.files, survey.problems, survey.left_out


def draw_contact_sheet(survey: Survey, ingestion: IngestionParameters) -> Figure:
    """A few photographs of every kind, and those with problems."""
    named = survey.problems[survey.problems["file"] != ""]["file"].nunique()
    sections = {**survey.specimens, f"with problems ({len(survey.suspects)} of {named} files)": survey.suspects}
    return contact_sheet(sections, title=_title(ingestion), subtitle=_summary(survey))


def write_page(survey: Survey, sheet: np.ndarray, ingestion: IngestionParameters) -> str:
    """The data report: one HTML file.

    Args:
        survey: of the category.
        sheet: its contact sheet, uint8 [H, W, 3].
        ingestion: what the networks are shown of the photographs.
    """
    height, width = ingestion.size
    parts = [
        ("Problems", html_table(survey.problems, empty="none found")),
        ("Counts", html_table(census.counts(survey))),
        ("Sizes and kinds of pixels", html_table(census.kinds(survey), most=50)),
        (f"Marked share of an image; masks lost at {height}x{width}", html_table(census.coverage(survey))),
        ("Photographs", html_picture(sheet, f"contact sheet of {_title(ingestion)}")),
        ("Files that are not used", html_table(survey.left_out)),
    ]
    return html_page(_title(ingestion), parts, intro=_summary(survey))


def summarise(survey: Survey, ingestion: IngestionParameters) -> str:
    """The few lines that a run ends with."""
    lines = [_title(ingestion), "", text_table(census.counts(survey)), "", _summary(survey)]
    listed = survey.problems.head(NAMED)
    for severity, file, problem, detail in listed.itertuples(index=False):
        lines.append(f"{severity:<8}{f'{file}: ' if file else ''}{problem}: {detail}")
    if len(survey.problems) > NAMED:
        lines.append(f"... and {len(survey.problems) - NAMED} more")
    return "\n".join([*lines, ""])


def _title(ingestion: IngestionParameters) -> str:
    synthetic = " (synthetic images)" if ingestion.dataset == DEMO else ""
    return f"{ingestion.dataset}/{ingestion.category}{synthetic}"


def _summary(survey: Survey) -> str:
    found = {severity: int((survey.problems["severity"] == severity).sum()) for severity in (ERROR, WARNING, NOTE)}
    counted = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in found.items() if count)
    ending = "; with an error no run begins" if found[ERROR] else ""
    others = f"{len(survey.left_out)} other {'entry' if len(survey.left_out) == 1 else 'entries'}"
    return f"{len(survey.files)} images, {others}; {counted or 'no problem found'}{ending}."
