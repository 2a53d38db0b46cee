"""The thresholds on a detector's card, from the maps and scores of good images that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from discrepancy.decisions.calibration import Calibration, Rule
from discrepancy.decisions.segmentation import Outlines, segmentation_rule
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.errors import InputError
from discrepancy.methods.card import Card
from discrepancy.metrics.thresholds import threshold_at_fpr


def calibrated(
    card: Card,
    scored: ScoredMaps,
    names: Sequence[str],
    *,
    target: float,
    rule: Rule,
    segmentation: Literal["images", "pixels"] = "images",
    how: str = "held-out",
) -> Card:
    """Return the card with the thresholds of images and of outlined regions.

    Args:
        card: the detector's.
        scored: maps and scores of good images that it was not trained on.
        names: of these images.
        target: false-alarm rate, in [0, 1).
        rule: from scores to a threshold.
        segmentation: outlines keep the target as a share of good images, or of good pixels.
        how: the images were kept from the training: `held-out`, or `cross-fitted`.

    Raises:
        InputError: no images, or a score that is not finite.
    """
    if len(names) != len(scored.maps):
        raise InputError(f"there are {len(scored.maps)} held-out maps; expected those of {len(names)} images")
    calibration = Calibration(scored.image_scores.astype(np.float64), target, rule)
    return card.with_entries(
        thresholds={
            "image": image_entry(calibration, names, how),
            "pixel": _pixel_entry(card, scored, calibration, segmentation),
        }
    )


def outlines(scored: ScoredMaps, card: Card) -> Outlines:
    """Return the outlined pixels of scored images, by the thresholds on a card."""
    thresholds = card.decision
    return Outlines(
        scored.maps, scored.image_scores.astype(float) > thresholds.image.value, thresholds.pixel.segmentation
    )


def with_threshold(card: Card, value: float, note: str) -> Card:
    """Return a calibrated card with another image threshold, whose false-alarm rate the same scores tell.

    Args:
        card: calibrated.
        value: the threshold.
        note: says where it comes from.
    """
    thresholds = card.to_json()["thresholds"]
    calibration = card.decision.image.calibration
    if calibration is None:
        raise InputError("the card does not hold the scores of its calibration; expected one that is just calibrated")
    rate = float(calibration.false_alarm_probability([value])[0])
    thresholds["image"] |= {
        "value": value,
        "target_fpr": min(rate, float(np.nextafter(1, 0))),  # 1 where it is cheapest to call all parts anomalous
        "expected_fpr": rate,
        "interval": list(calibration.model.interval(value)),
        "note": note,
    }
    pixel = card.decision.pixel
    lowered = value < card.decision.image.value
    if pixel.of == "images" and lowered and pixel.value > value:  # what is called anomalous now shall have an outline
        thresholds["pixel"] |= {"value": value, "low": min(value, pixel.segmentation.low)}
    return card.with_entries(thresholds=thresholds)


def image_entry(calibration: Calibration, names: Sequence[str], how: str) -> dict[str, Any]:
    """Return the entry of the image threshold, JSON values.

    Args:
        calibration: scores and rule.
        names: of the images that the scores belong to.
        how: they were kept from the training.
    """
    return {
        "value": calibration.threshold,
        "target_fpr": calibration.target,
        "images": len(calibration.scores),
        "note": calibration.describe(how),
        "rule": calibration.rule,
        "expected_fpr": calibration.expected_rate,
        "interval": list(calibration.interval),
        "scores": calibration.scores.tolist(),
        "outliers": [names[row] for row in calibration.outliers],
    }


def _pixel_entry(card: Card, scored: ScoredMaps, calibration: Calibration, segmentation: str) -> dict[str, Any]:
    count, target = len(scored.maps), calibration.target
    if segmentation == "pixels":
        threshold = threshold_at_fpr(scored.maps, fpr=target, images=count)
        return {"value": threshold.value, "target_fpr": target, "images": count, "note": threshold.describe()}
    # Methods whose image score is the maximum of the smoothed map are outlined by that same map.
    found = segmentation_rule(scored.maps, target=target, rule=calibration.rule, sigma=card.image_score.sigma)
    if np.isclose(found.high, calibration.threshold, rtol=1e-4):
        found = found.with_peak_threshold(calibration.threshold)
    smoothed = f", smoothed by a Gaussian of sigma {found.sigma:g} px" if found.sigma else ""
    pixels = f"{found.smallest} pixel{'' if found.smallest == 1 else 's'}"
    note = (
        f"regions of at least {pixels} above {found.low:.6g} with a peak above {found.high:.6g} on the "
        f"map{smoothed}, from {count} held-out good images. Images that pass have none."
    )
    return {
        "of": "images",
        "value": found.high,
        "low": found.low,
        "sigma": found.sigma,
        "smallest": found.smallest,
        "target_fpr": target,
        "images": count,
        "rule": calibration.rule,
        "note": note,
    }
