"""Nodes of the calibrate pipeline: photographs scored, thresholds set anew, and compared with those before."""

from __future__ import annotations

import copy
import logging
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from discrepancy.data.photographs import DEMO
from discrepancy.data.reading import pillow_limit_disabled
from discrepancy.data.samples import join_first
from discrepancy.decisions.calibration import DEFAULT_RULE
from discrepancy.decisions.comparison import Comparison, compare_scores
from discrepancy.decisions.costs import LeastCost, threshold_of_least_cost
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.detection.thresholds import calibrated, with_threshold
from discrepancy.errors import InputError
from discrepancy.figures.curves import Roc, roc_figure
from discrepancy.figures.drift import comparison_figure
from discrepancy.figures.roc_band import Band, roc_band_figure
from discrepancy.methods.base import Method
from discrepancy.methods.card import Card
from discrepancy.methods.registry import METHODS
from discrepancy.metrics import auroc, rate_metrics, roc_band, roc_curve, share_interval
from discrepancy.pipelines.calibrate.parameters import CalibrateParameters
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.sources import common_folder, files_in

logger = logging.getLogger(__name__)

GOOD, DEFECTIVE = 0, 1


class ScoredPhotographs(NamedTuple):
    """Photographs of good parts, then of defective ones.

    Attributes:
        names: relative to the folders that were given.
        labels: 0 good, 1 defective, [N].
        scored: maps at the detector's size, and image scores.
    """

    names: list[str]
    labels: np.ndarray
    scored: ScoredMaps

    def only(self, label: int) -> ScoredPhotographs:
        """Return those with a label."""
        rows = np.flatnonzero(self.labels == label)
        part = ScoredMaps(self.scored.maps[rows], self.scored.image_scores[rows], self.scored.seconds)
        return ScoredPhotographs([self.names[row] for row in rows], self.labels[rows], part)


def score_photographs(detector: Detector, parameters: CalibrateParameters, method: str) -> ScoredPhotographs:
    """Score the photographs of good parts, and those of defective parts if any are named.

    Args:
        detector: the trained detector.
        parameters: of the pipeline.
        method: name of the method whose newest detector the calibrated one becomes.

    Raises:
        InputError: no good photographs are named, there are fewer than two, or one cannot be read; or the detector is
            one of another method.
    """
    if not parameters.good:
        raise InputError("good: nothing given; expected photographs of good parts, good=/photos/good")
    if (made_by := detector.card.method) != method:
        raise InputError(
            f"detector: it is one of {made_by}, and would become the newest of {method}; expected method={made_by}"
        )
    places = {GOOD: parameters.good, **({DEFECTIVE: parameters.defects} if parameters.defects else {})}
    files = [(label, place, path) for label, place in places.items() for path in files_in(place)]
    if (count := sum(label == GOOD for label, *_ in files)) < 2:
        raise InputError(f"good: {parameters.good} holds one photograph; expected 2 or more, better 50")
    good = {path.resolve() for label, _, path in files if label == GOOD}
    if both := sorted(path for label, _, path in files if label == DEFECTIVE and path.resolve() in good):
        raise InputError(f"defects: {both[0]} is among the good photographs, too; expected folders of their own")
    logger.info("scoring %d photographs of good parts and %d of defective ones", count, len(files) - count)
    detector.to(parameters.device)
    maps, scores = [], []
    with pillow_limit_disabled(), tqdm(total=len(files), desc="scoring", unit="photograph", disable=None) as bar:
        for result in detector.stream([path for *_, path in files], batch_size=parameters.batch_size):
            maps.append(result.small_map)
            scores.append(result.score)
            bar.update()
    names = [path.relative_to(common_folder(place)).as_posix() for _, place, path in files]
    labels = np.array([label for label, *_ in files])
    return ScoredPhotographs(names, labels, ScoredMaps(np.stack(maps), np.array(scores, np.float32), 0.0))


def calibrate(
    detector: Detector, photographs: ScoredPhotographs, parameters: CalibrateParameters
) -> tuple[Method, Card]:
    """Set the thresholds anew from the good photographs; return the detector, and its card by itself.

    Given costs, the image threshold is that of least expected cost.
    """
    good = photographs.only(GOOD)
    before = detector.card.decision.image
    target = parameters.false_positive_rate
    if target is None:
        target = before.target_fpr if before.target_fpr is not None else 0.01
    card = calibrated(
        detector.card,
        good.scored,
        good.names,
        target=target,
        rule=parameters.rule or (before.rule if before.scores else DEFAULT_RULE),  # older cards keep no scores
        segmentation=parameters.segmentation or (detector.card.decision.pixel.of if before.scores else "images"),
    )
    if (best := _least_cost(card, photographs, parameters)) is not None:
        note = (
            f"threshold {best.value:.6g}, of least expected cost: {best.expected_cost:.4g} per part, with "
            f"{100 * best.miss_rate:.2g} % of defective parts missed and {100 * best.false_alarm_rate:.2g} % of good "
            "parts called anomalous"
        )
        if best.cost_without_alarms <= best.expected_cost:
            note += f". No threshold pays: without any alarm a part costs {best.cost_without_alarms:.4g}"
            logger.warning("cost_miss, cost_alarm, defect_share: %s", note)
        card = with_threshold(card, best.value, note)
    if outliers := card.decision.image.outliers:
        logger.warning("check %s: scored too far from the other good photographs to count", join_first(outliers))
    method = copy.copy(detector.method)
    method.card = card
    return method, card


def _least_cost(card: Card, photographs: ScoredPhotographs, parameters: CalibrateParameters) -> LeastCost | None:
    calibration = card.decision.image.calibration
    if parameters.cost_miss is None or parameters.cost_alarm is None or parameters.defect_share is None:
        return None
    assert calibration is not None  # it was just set
    return threshold_of_least_cost(
        photographs.only(DEFECTIVE).scored.image_scores,
        calibration.false_alarm_probability,
        cost_miss=parameters.cost_miss,
        cost_alarm=parameters.cost_alarm,
        defect_share=parameters.defect_share,
        highest=2 * float(max(calibration.scores)),
    )


def measure(detector: Detector, photographs: ScoredPhotographs, card: Card) -> dict[str, float | None]:
    """Return what has changed, as numbers; None where there is no such number.

    `false_alarm_rate_before` is the share of the good photographs above the threshold before. `detection_rate` is
    that of the defective ones above the new threshold.
    """
    before, now = detector.card.decision.image, card.decision.image
    scores, labels = photographs.scored.image_scores.astype(float), photographs.labels
    good, defective = scores[labels == GOOD], scores[labels == DEFECTIVE]
    found = int((defective > now.value).sum())
    low, high = share_interval(found, len(defective))
    values: dict[str, float] = {
        "threshold_before": before.value,
        "threshold": now.value,
        "expected_false_alarm_rate": _or_nan(now.expected_fpr),
        "expected_false_alarm_rate_low": now.interval[0] if now.interval else math.nan,
        "expected_false_alarm_rate_high": now.interval[1] if now.interval else math.nan,
        "false_alarm_rate_before": float((good > before.value).mean()),
        "good_photographs": float(len(good)),
        "defective_photographs": float(len(defective)),
        "detection_rate": found / len(defective) if len(defective) else math.nan,
        "detection_rate_low": low,
        "detection_rate_high": high,
    }
    if (comparison := _comparison(detector, good)) is not None:
        values |= {
            "drift_p_value": comparison.p_value,
            "probability_higher": comparison.probability_higher,
            "median_ratio": comparison.ratio,
            "drifted": float(comparison.drifted),
        }
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def tabulate(photographs: ScoredPhotographs, card: Card) -> pd.DataFrame:
    """Return one line per photograph: file, label, score, its ratio to the new threshold, and what it means."""
    threshold, scores = card.decision.image, photographs.scored.image_scores.astype(float)
    calibration = threshold.calibration
    assert calibration is not None  # it was just set
    return pd.DataFrame(
        {
            "file": photographs.names,
            "label": photographs.labels,
            "score": scores,
            "relative_score": scores / threshold.value if threshold.value else math.nan,
            "false_alarm_probability": calibration.false_alarm_probability(scores),
            "decision": np.where(scores > threshold.value, "anomalous", "good"),
            "check": [
                label == GOOD and name in threshold.outliers
                for name, label in zip(photographs.names, photographs.labels, strict=True)
            ],
        }
    )


def draw_drift(detector: Detector, photographs: ScoredPhotographs, card: Card) -> Figure:
    """Draw the good scores of the calibration before and of the new photographs, with both thresholds."""
    before, now = detector.card.decision.image, card.decision.image
    scores = photographs.only(GOOD).scored.image_scores.astype(float)
    # An older card does not hold its scores: then the new ones stand alone.
    return comparison_figure(before.scores or scores, scores, before.value, now.value, title=_title(card))


def draw_roc(photographs: ScoredPhotographs, card: Card) -> Figure:
    """Draw the ROC curve with its confidence band and the threshold; an empty one without defective photographs."""
    scores, labels = photographs.scored.image_scores.astype(float), photographs.labels
    if not (labels == DEFECTIVE).any():
        return roc_figure(None, None)
    curve = Roc(*roc_curve(scores, labels), auroc(scores, labels))
    rates = rate_metrics(scores > card.decision.image.value, labels)
    return roc_band_figure(curve, Band(*roc_band(scores, labels)), rates)


def summarise(
    detector: Detector,
    photographs: ScoredPhotographs,
    card: Card,
    values: dict[str, float | None],
    parameters: CalibrateParameters,
) -> str:
    """Return the few lines that a run ends with; a drift of the scores is a warning in the log, too."""
    before, now = detector.card.decision.image, card.decision.image
    good = photographs.only(GOOD).scored.image_scores.astype(float)
    alarms = int((good > before.value).sum())
    lines = [f"{_title(card)}: new thresholds", ""]
    comparison = _comparison(detector, good)
    if comparison is None:
        lines.append("The detector's card is older and does not hold the scores of its calibration.")
    else:
        lines.append(comparison.describe())
        if comparison.drifted:
            logger.warning("%s", comparison.describe())
    lines += [
        f"The threshold before, {before.value:.6g}, calls {alarms} of {len(good)} new good photographs anomalous.",
        f"image {now.note}",
    ]
    if now.outliers:
        lines.append(f"Check {join_first(now.outliers)}: too far from the other good photographs to count.")
    if (rate := values["detection_rate"]) is not None:
        low, high = values["detection_rate_low"] or 0.0, values["detection_rate_high"] or 0.0
        told = "; optimistic, as the threshold was chosen on them" if parameters.cost_miss is not None else ""
        lines.append(
            f"Of {values['defective_photographs']:.0f} defective photographs {100 * rate:.0f} % are found (95 % "
            f"confidence {100 * low:.0f} to {100 * high:.0f} %{told})."
        )
    return "\n".join([*lines, ""])


def _comparison(detector: Detector, good: np.ndarray) -> Comparison | None:
    before = detector.card.decision.image.scores
    return compare_scores(before, good) if len(before) > 1 else None


def _title(card: Card) -> str:
    synthetic = " (synthetic images)" if card.dataset == DEMO else ""
    return f"{METHODS[card.method].title} on {card.category or 'a part'}{synthetic}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
