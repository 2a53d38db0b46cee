"""The threshold at which missed defects and false alarms together cost least."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_numbers

MARGIN: Final = 1e-3
"""Distance of a threshold below the lowest score that it shall find, as a share of that score."""


@dataclass(frozen=True)
class LeastCost:
    """A threshold of least expected cost: anomalous iff score > `value`.

    Attributes:
        value: in the units of the scores, finite.
        expected_cost: per part, in the units of the costs.
        miss_rate: share of the defective parts that are not found, in [0, 1].
        false_alarm_rate: probability that a good part is called anomalous, in [0, 1].
        cost_without_alarms: expected cost per part if none were called anomalous. Where it is below `expected_cost`, no
            threshold of this detector pays at these costs.
    """

    value: float
    expected_cost: float
    miss_rate: float
    false_alarm_rate: float
    cost_without_alarms: float


def threshold_of_least_cost(
    defect_scores: ArrayLike,
    false_alarm_probability: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    cost_miss: float,
    cost_alarm: float,
    defect_share: float,
    highest: float = -math.inf,
) -> LeastCost:
    """Return the threshold at which the expected cost per part is least, exactly.

    The cost is defect_share * cost_miss * miss rate + (1 - defect_share) * cost_alarm * false-alarm rate. Between two
    defect scores the miss rate stays the same while the false-alarm rate falls. So the best threshold lies just below a
    defect score, or is infinite: never an alarm. A card holds no infinite threshold. The highest defect score is the
    highest threshold that may be returned, and `cost_without_alarms` tells what never an alarm would cost.

    Args:
        defect_scores: image scores of known defective parts, finite `[n]`. They must not be test images: the miss rate
            is counted on them, and the fewer they are the more it flatters the threshold.
        false_alarm_probability: gives for thresholds `[k]` the probability that a good part scores above each `[k]`, in
            [0, 1]; it must not rise with the threshold.
        cost_miss: of a defective part that is not found, finite and not negative.
        cost_alarm: of a good part called anomalous, in the same units.
        defect_share: share of the parts in production that are defective, in [0, 1].
        highest: score above which no good part is expected; a threshold there stands for never an alarm, if it is
            higher than all defect scores.

    Returns:
        the threshold, with what it costs; of several that cost the same, the lowest, which misses least.

    Raises:
        InputError: no score, or one that is not finite; a cost or share outside its range; or a probability that is
            missing or outside [0, 1].

    >>> chance = lambda thresholds: np.exp(-thresholds)
    >>> best = threshold_of_least_cost([2, 5, 6], chance, cost_miss=100, cost_alarm=1, defect_share=0.01)
    >>> round(best.value, 3), round(best.expected_cost, 3), best.miss_rate
    (1.998, 0.134, 0.0)
    """
    scores = _scores(defect_scores)
    _check_costs(cost_miss, cost_alarm, defect_share)
    thresholds = np.append(_just_below(np.unique(scores)), max(scores.max(), highest))
    alarms = _probabilities(false_alarm_probability, thresholds)
    misses = np.searchsorted(np.sort(scores), thresholds, side="right") / scores.size
    costs = defect_share * cost_miss * misses + (1 - defect_share) * cost_alarm * alarms
    best = int(np.argmin(costs))
    return LeastCost(
        value=float(thresholds[best]),
        expected_cost=float(costs[best]),
        miss_rate=float(misses[best]),
        false_alarm_rate=float(alarms[best]),
        cost_without_alarms=float(defect_share * cost_miss),
    )


def _just_below(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number a little below each of the distinct scores `[n]`, ascending, and above the one before.

    A score that is computed again, in another batch or on another device, is rounded differently, and shall be found
    again. That costs a thousandth of the score, and next to nothing in false alarms.
    """
    lower = scores - MARGIN * np.abs(scores)
    lower[1:] = np.maximum(lower[1:], scores[:-1] / 2 + scores[1:] / 2)
    return np.where(lower < scores, lower, np.nextafter(scores, -np.inf))


def _scores(values: ArrayLike) -> NDArray[np.float64]:
    scores = as_numbers(values, name="defect_scores").astype(np.float64)
    if scores.ndim != 1:
        raise InputError(f"defect_scores has shape {scores.shape}; [n] was expected.")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise InputError(f"defect_scores[{wrong[0]}] is {scores[wrong[0]]}; a finite score was expected.")
    return scores


def _check_costs(cost_miss: float, cost_alarm: float, defect_share: float) -> None:
    for name, cost in (("cost_miss", cost_miss), ("cost_alarm", cost_alarm)):
        if not (math.isfinite(cost) and cost >= 0):
            raise InputError(f"{name} is {cost}; a finite number from 0 on was expected.")
    if not 0 <= defect_share <= 1:
        raise InputError(f"defect_share is {defect_share}; a share in [0, 1] was expected.")


def _probabilities(
    false_alarm_probability: Callable[[NDArray[np.float64]], NDArray[np.float64]], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    alarms = np.asarray(false_alarm_probability(thresholds), dtype=np.float64)
    if alarms.shape != thresholds.shape:
        raise InputError(
            f"false_alarm_probability gave shape {alarms.shape}; {thresholds.shape}, one per threshold, was expected."
        )
    wrong = np.flatnonzero(~((alarms >= 0) & (alarms <= 1)))
    if wrong.size:
        raise InputError(
            f"false_alarm_probability is {alarms[wrong[0]]} at {thresholds[wrong[0]]}; a number in [0, 1] was expected."
        )
    return alarms
