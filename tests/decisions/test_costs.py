import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from discrepancy.decisions.costs import threshold_of_least_cost
from discrepancy.errors import InputError


def tail(thresholds):
    """Chance of an exponential score above each threshold; 1 below zero."""
    return np.exp(-np.maximum(thresholds, 0))


def cost(threshold, scores, *, cost_miss, cost_alarm, defect_share):
    misses = sum(score <= threshold for score in scores) / len(scores)
    return defect_share * cost_miss * misses + (1 - defect_share) * cost_alarm * float(tail(np.array([threshold]))[0])


SCORES = hnp.arrays(np.float64, st.integers(1, 8), elements=st.integers(-8, 40).map(lambda number: number / 8))
COSTS = st.floats(0, 1000)


@settings(max_examples=100, deadline=None)
@given(SCORES, COSTS, COSTS, st.floats(0, 1))
def test_nothing_on_a_fine_grid_costs_less(scores, cost_miss, cost_alarm, defect_share):
    costs = {"cost_miss": cost_miss, "cost_alarm": cost_alarm, "defect_share": defect_share}
    best = threshold_of_least_cost(scores, tail, **costs)
    assert best.expected_cost == pytest.approx(cost(best.value, scores, **costs))
    assert best.miss_rate == np.mean(scores <= best.value)
    assert best.false_alarm_rate == pytest.approx(float(tail(np.array([best.value]))[0]))
    grid = np.append(np.linspace(scores.min() - 1, scores.max(), 500), scores)
    least = min(cost(threshold, scores, **costs) for threshold in grid)
    # A threshold a thousandth below a score has hardly more false alarms than one at the score itself.
    assert best.expected_cost <= least + 1e-3 * cost_alarm


@pytest.mark.parametrize(
    ("cost_miss", "value", "miss_rate"), [(1e6, 2.0, 0.0), (150, 5.0, 1 / 3), (10, 6.0, 2 / 3), (0, 6.0, 1.0)]
)
def test_dear_misses_lower_the_threshold(cost_miss, value, miss_rate):
    best = threshold_of_least_cost([2, 6, 5], tail, cost_miss=cost_miss, cost_alarm=100, defect_share=0.05)
    assert best.value == pytest.approx(value, rel=2e-3) and best.miss_rate == pytest.approx(miss_rate)
    assert (best.value == 6.0) == (miss_rate == 1.0) and best.value <= 6.0


def test_costs_at_which_no_threshold_pays_are_told():
    options = {"cost_miss": 1.0, "defect_share": 0.05}
    dear = threshold_of_least_cost([2, 6, 5], tail, cost_alarm=100, **options)
    cheap = threshold_of_least_cost([2, 6, 5], tail, cost_alarm=0.01, **options)
    assert cheap.expected_cost < cheap.cost_without_alarms == dear.cost_without_alarms == 0.05 < dear.expected_cost


@pytest.mark.parametrize("kept", [np.float32, np.float64])
@pytest.mark.parametrize("given_as", [np.float32, np.float64])
def test_the_score_just_above_the_threshold_is_found(kept, given_as):
    """Also where the scores are float32 when they are compared, but came as float64, as from a table."""
    scores = np.array([0.1, 0.3, 1.7, 123.456], np.float32).astype(given_as)
    best = threshold_of_least_cost(scores, tail, cost_miss=1e9, cost_alarm=1, defect_share=0.5)
    assert type(best.value) is float
    assert (scores.astype(kept) > best.value).all() and best.miss_rate == 0.0


def test_scores_that_are_computed_again_are_found_again():
    """The threshold lies a thousandth below the lowest score that it shall find, and above the next lower one."""
    options = {"cost_alarm": 1, "defect_share": 0.5}
    assert threshold_of_least_cost([2.0, 3.0], tail, cost_miss=1e9, **options).value == pytest.approx(1.998)
    assert threshold_of_least_cost([-2.0], tail, cost_miss=1e9, **options).value == pytest.approx(-2.002)
    assert threshold_of_least_cost([0.0], tail, cost_miss=1e9, **options).value < 0
    close = threshold_of_least_cost([1.0, 1.0001], lambda t: (t < 1.00002) * 1.0, cost_miss=1.5, **options)
    assert close.value == pytest.approx(1.00005, abs=1e-9)


def test_of_equal_costs_the_lowest_threshold_is_taken():
    flat = threshold_of_least_cost([1, 2, 3], np.zeros_like, cost_miss=0, cost_alarm=1, defect_share=0.5)
    assert flat.value < 1 and flat.miss_rate == 0.0 and flat.expected_cost == 0.0


def test_is_frozen():
    best = threshold_of_least_cost([1.0], tail, cost_miss=1, cost_alarm=1, defect_share=0.5)
    with pytest.raises(AttributeError):
        best.value = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defect_scores": []}, "at least one value"),
        ({"defect_scores": [[1.0]]}, r"defect_scores has shape \(1, 1\)"),
        ({"defect_scores": [1.0, math.nan]}, r"defect_scores\[1\] is nan"),
        ({"defect_scores": [math.inf]}, r"defect_scores\[0\] is inf"),
        ({"cost_miss": -1.0}, "cost_miss is -1.0"),
        ({"cost_miss": math.inf}, "cost_miss is inf"),
        ({"cost_alarm": math.nan}, "cost_alarm is nan"),
        ({"defect_share": 1.1}, "defect_share is 1.1"),
        ({"defect_share": math.nan}, "defect_share is nan"),
        ({"false_alarm_probability": lambda t: 0.5}, r"gave shape \(\); \(3,\), one per threshold,"),
        ({"false_alarm_probability": lambda t: 2 * tail(t)}, r"is 1\.\d+ at 0\.2\d*; a number in \[0, 1\]"),
        ({"false_alarm_probability": lambda t: t * math.nan}, "is nan at"),
    ],
)
def test_unusable_input_is_refused(changes, message):
    usable = {"defect_scores": [0.25, 1.0], "false_alarm_probability": tail, "cost_miss": 1.0, "cost_alarm": 1.0,
              "defect_share": 0.1}  # fmt: skip
    options = usable | changes
    with pytest.raises(InputError, match=message):
        threshold_of_least_cost(options.pop("defect_scores"), options.pop("false_alarm_probability"), **options)
