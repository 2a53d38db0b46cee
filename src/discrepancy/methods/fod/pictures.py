"""Figure of the correlations that FOD has learnt, for the report."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from discrepancy.detection.scoring import ScoredMaps
from discrepancy.devices import resolve_device
from discrepancy.errors import InputError
from discrepancy.methods.fod.correlation_figure import Correlations, Level, choose_patches, correlation_figure
from discrepancy.methods.fod.model import FOD
from discrepancy.methods.fod.parameters import FODParameters

SUBTITLE = (
    "Correlations of a patch with all others, mean over heads and layers. "
    "J: divergence between learnt and target correlations."
)


def draw_correlations(
    detector: FOD,
    images: np.ndarray,
    masks: np.ndarray,
    scored: ScoredMaps,
    scores: pd.DataFrame,
    parameters: FODParameters,
) -> Figure:
    """Draw learnt correlations and their targets for a good and an anomalous patch of one test image.

    Args:
        detector: the detector.
        images: uint8 [N, 3, H, W]; the test images come last.
        masks: bool [N_test, H, W].
        scored: anomaly maps of the test images.
        scores: one line per test image.
        parameters: of FOD; `pictured` names the image.
    """
    maps = scored.maps
    row = _pictured(scores, masks, parameters.pictured)
    image = np.array(images[len(images) - len(maps) + row])
    patches = choose_patches(maps[row], masks[row])
    device = resolve_device(parameters.device)
    found = detector.to(device).correlations(torch.from_numpy(image)[None].to(device), [p.place for p in patches])
    levels = [
        Level(
            name,
            [detector.cell(index, patch.place) for patch in patches],
            {branch: Correlations(*(part.cpu().numpy() for part in values)) for branch, values in branches.items()},
        )
        for index, (name, branches) in enumerate(zip(detector.levels, found, strict=True))
        if branches
    ]
    line = scores.iloc[row]
    synthetic = " (synthetic image)" if detector.card.dataset == "demo" else ""
    title = f"Correlations learnt by FOD{synthetic}: {line['image']}"
    return correlation_figure(image, patches, levels, title=title, subtitle=SUBTITLE)


def _pictured(scores: pd.DataFrame, masks: np.ndarray, wanted: str) -> int:
    """Return the row of the selected image; `auto`: the highest score that has a mask, else the highest."""
    if wanted == "auto":
        marked = masks.any((1, 2)) & (scores["label"] == 1).to_numpy()
        return int(np.where(marked | ~marked.any(), scores["score"], -np.inf).argmax())
    matching = np.flatnonzero(scores["image"] == wanted)
    if not len(matching):
        raise InputError(f"fod.pictured: {wanted!r} is no test image; expected auto or one like {scores['image'][0]!r}")
    return int(matching[0])
