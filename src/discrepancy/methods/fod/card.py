"""Entries of FOD's card in words."""

from __future__ import annotations

from typing import Any

from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.transformer import INTRA


def describe(parameters: FODParameters) -> dict[str, Any]:
    """Describe the interpretation of the parameters in words, for the card."""
    return {
        "model": _model_in_words(parameters),
        "score": _score_in_words(parameters),
        "pixel_metrics": f"on maps smoothed by a Gaussian of sigma {parameters.smoothing:g} px"
        if parameters.smoothing
        else "on raw maps",
    }


def _model_in_words(parameters: FODParameters) -> str:
    branches = " and ".join(parameters.branches)
    if not branches:
        return "no correlations: each token is reconstructed by itself"
    if parameters.as_figure:
        return f"{branches}-correlations, as the paper's figure draws them: skip connection, output projections"
    if len(parameters.branches) == 1:
        return f"{branches}-correlations alone: skip connection, no output projections"
    return f"{branches}-correlations, as the authors' program computes them: no skip connection, no output projections"


def _score_in_words(parameters: FODParameters) -> str:
    kind = {"raw": "mean squared error", "diagonal": "squared error by channels' deviations"}
    error = kind.get(parameters.residuals, "whitened squared error") + " + 1 - cosine"
    if parameters.scored:
        closeness = "softmax(-J)" if parameters.scored == INTRA else "(max softmax(-J) - softmax(-J))"
        times = " x number of tokens" if parameters.balanced else ""
        error = f"({error}) x {closeness}{times}, J of the {parameters.scored}-correlations"
    place = ", divided by what is usual at the position" if parameters.by_position else ""
    return f"{error}; upsampled, mean of the levels{place}"
