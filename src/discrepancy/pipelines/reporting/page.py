"""The node that writes the report of a run as one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from discrepancy.data.parameters import IngestionParameters
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.detection.thresholds import outlines
from discrepancy.figures.cases import choose_cases
from discrepancy.figures.decisions import decisions
from discrepancy.figures.html import html_table
from discrepancy.figures.report_page import (
    Fact,
    Section,
    html_closed,
    html_facts,
    html_figures,
    html_lines,
    report_page,
)
from discrepancy.methods.card import Card
from discrepancy.pipelines.reporting import contents
from discrepancy.pipelines.reporting.parameters import ReportingParameters

DECISIONS = 20
"""Number of the worst decisions that the report shows large."""

_FIGURES = {
    "scores_figure": "Image scores of the test images",
    "roc_figure": "ROC curves of images and pixels",
    "pro_figure": "PRO curve",
    "loss_figure": "Loss per epoch",
}


def write_report(  # noqa: PLR0913 (all that is known about a run comes together here)
    *,
    images: np.ndarray,
    masks: np.ndarray,
    scored: ScoredMaps,
    scores: pd.DataFrame,
    table: pd.DataFrame,
    metrics: dict[str, float | None],
    samples: pd.DataFrame,
    card: Card,
    run_links: Mapping[str, str],
    ingestion: IngestionParameters,
    scoring: Any,
    reporting: ReportingParameters,
    gallery_figure: np.ndarray,
    **figures: np.ndarray,
) -> str:
    """Write the report of a run as one HTML page.

    Args:
        images: uint8 [N, 3, H, W]; the test images come last.
        masks: bool [N_test, H, W].
        scored: the test images' maps and scores.
        scores: one line per test image.
        table: one line per kind of defect.
        metrics: of the whole test set.
        samples: the sample table.
        card: the detector's.
        run_links: words on this run by name: `date`, `detector`, `detector_link`, `mlflow`, `mlflow_command`.
        ingestion: its parameters.
        scoring: parameters of the scoring pipeline.
        reporting: parameters of this pipeline.
        gallery_figure: the gallery, uint8 [H, W, 3].
        figures: further figures, uint8 [H, W, 3], by the name of their dataset.
    """
    groups = {"ingestion": ingestion, "scoring": scoring, "reporting": reporting}
    curves = [(words, figures[name]) for name, words in _FIGURES.items() if name in figures]
    curves += [(_words(name), figure) for name, figure in figures.items() if name not in _FIGURES]
    heading, worst = _worst(images, masks, scored, scores, card)
    facts = [Fact("Date", run_links["date"])] if "date" in run_links else []
    facts.append(Fact("Data set", f"{card.dataset or '-'}, part {card.category or '-'}"))
    reasons = html_lines(contents.undefined_reasons(table, metrics))
    listed = contents.parameters(card, groups)
    changed = [(group, setting) for group, setting in listed if setting.changed]
    sections = [
        Section("Metrics", [html_table(contents.metrics_table(metrics, scores, masks)), reasons]),
        Section("Thresholds", [html_lines(contents.threshold_lines(card))]),
        Section("Kinds of defect", [html_table(contents.defects_table(table))]),
        Section("Curves", [html_figures(curves)]),
        Section("Gallery", [html_figures([(f"Gallery of {contents.title(card)}", gallery_figure)], most=600_000)]),
        Section(heading, [worst], short="Decisions"),
        Section(
            "Parameters that differ from the defaults",
            [
                html_table(contents.settings_table(changed), empty="none"),
                html_closed(f"All {len(listed)} parameters", html_table(contents.settings_table(listed))),
            ],
            short="Parameters",
        ),
        Section("Data", [html_table(contents.split_table(samples)), html_facts(contents.data_facts(card, samples))]),
        Section("Detector", [html_facts(contents.detector_facts(card, metrics, run_links))]),
    ]
    return report_page(contents.title(card), contents.decision_summary(scores, card), facts, sections)


def _words(name: str) -> str:
    """Return what a method's own figure is called: its dataset's name in words."""
    return name.removesuffix("_figure").replace("_", " ").capitalize()


def _worst(
    images: np.ndarray, masks: np.ndarray, scored: ScoredMaps, scores: pd.DataFrame, card: Card
) -> tuple[str, Markup]:
    """Return the heading of the worst decisions, and the decisions."""
    thresholds, maps = card.decision, scored.maps
    chosen = choose_cases(scores["score"], scores["label"], worst=DECISIONS, best=0, threshold=thresholds.image.value)
    return chosen[0].heading, decisions(
        images[len(images) - len(maps) :],
        masks,
        maps,
        scores,
        chosen[0].cases,
        found=outlines(scored, card),
        level=thresholds.pixel.segmentation.low,
        image_threshold=thresholds.image.value,
    )
