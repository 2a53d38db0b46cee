"""Thresholds from held-out scores, and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from discrepancy.decisions.calibration import DEFAULT_RULE, RULES, Calibration
from discrepancy.errors import InputError
from discrepancy.metrics.thresholds import threshold_at_fpr


@pytest.mark.parametrize(("count", "target"), [(12, 0.05), (12, 0.01), (60, 0.01)])
def test_intervals_cover_the_true_rate_as_often_as_they_say(count, target):
    """1,000 simulated calibrations: 95 % of the intervals hold the true rate, whose mean is the target."""
    rng = np.random.default_rng(count)
    covered, rates = 0, []
    for scores in rng.gumbel(20, 4, (1000, count)):
        found = Calibration(scores, target)
        rates.append(stats.gumbel_r.sf(found.threshold, 20, 4))
        low, high = found.interval
        covered += low <= rates[-1] <= high
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)  # three standard errors
    assert np.mean(rates) == pytest.approx(target, rel=0.15)


def test_intervals_of_the_order_alone_cover_too():
    rng = np.random.default_rng(1)
    covered = 0
    for scores in rng.lognormal(size=(1000, 40)):
        found = Calibration(scores, 0.05, "quantile")
        low, high = found.interval
        covered += low <= stats.lognorm.sf(found.threshold, 1) <= high
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.125, 1024, width=32), min_size=1, max_size=40),
    st.sampled_from(RULES),
    st.sampled_from([0.0, 0.01, 0.05, 0.2]),
)
def test_every_calibration_says_something_finite(scores, rule, target):
    found = Calibration(np.array(scores), target, rule)
    low, high = found.interval
    assert np.isfinite(found.threshold)
    assert 0 <= low <= high <= 1
    assert found.missing >= 0
    probabilities = found.false_alarm_probability(np.sort(scores))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities) <= 1e-12).all()
    assert "held-out good image" in found.describe()


def test_the_rule_quantile_is_that_of_the_metrics():
    scores = np.random.default_rng(2).gamma(3, size=57)
    found = Calibration(scores, 0.05, "quantile")
    expected = threshold_at_fpr(scores, fpr=0.05)
    assert found.threshold == expected.value
    assert found.interval == pytest.approx(expected.interval)
    assert found.expected_rate == pytest.approx((expected.above + 1) / 58)
    assert found.false_alarm_probability([scores.max() + 1]) == pytest.approx([1 / 58])


@pytest.mark.parametrize(("count", "missing"), [(3, 96), (98, 1), (99, 0)])
def test_the_order_alone_says_how_many_images_are_missing(count, missing):
    found = Calibration(np.arange(1.0, count + 1), 0.01, "quantile")
    assert found.missing == missing
    assert (f"needs {missing} more" in found.describe()) == bool(missing)


@pytest.mark.parametrize(
    ("scores", "target", "rule", "why"),
    [
        ([1.0, 2.0], 0.01, "gumbel", "needs 3 images"),
        ([2.0] * 10, 0.01, "gumbel", "all the same"),
        ([0.0, 1.0, 2.0, 3.0], 0.01, "lognormal", "not positive"),
        ([1.0, 2.0, 3.0, 4.0], 0.0, "gumbel", "target of 0"),
    ],
)
def test_where_no_distribution_can_be_fitted_the_order_counts(scores, target, rule, why):
    found = Calibration(np.array(scores), target, rule)
    assert found.threshold == max(scores)
    assert why in found.describe()
    assert Calibration(np.array(scores), target, "quantile").why_not == ""


def test_an_outlier_is_named_and_does_not_rule():
    scores = np.append(np.random.default_rng(3).gumbel(10, 1, 15), 50.0)
    found = Calibration(scores, 0.01)
    assert list(found.outliers) == [15]
    assert found.threshold < 30
    assert Calibration(scores, 0.01, "quantile").threshold == 50


def test_more_images_are_asked_for_until_the_rate_is_certain():
    few = Calibration(np.random.default_rng(4).gumbel(10, 1, 12), 0.05)
    assert few.interval[1] > 0.1
    assert few.until_certain > 0
    assert f"With {few.until_certain} more images" in few.describe()
    many = Calibration(np.random.default_rng(4).gumbel(10, 1, 12 + 3 * few.until_certain), 0.05)
    assert many.interval[1] < 0.1
    assert many.until_certain == 0


def test_the_default_rule_is_one_of_the_rules():
    assert DEFAULT_RULE in RULES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 0.01), "at least one value"),
        (([1.0, np.nan], 0.01), "NaN"),
        (([1.0, np.inf], 0.01), "finite"),
        (([[1.0]], 0.01), "finite scores"),
        (([1.0], 1.0), r"rate in \[0, 1\)"),
        (([1.0], 0.01, "median"), "expected gumbel"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Calibration(*arguments)


def test_of_equal_scores_the_odd_one_does_not_count():
    found = Calibration(np.array([3.0] * 15 + [50.0]), 0.01)
    assert found.threshold == 3.0
    assert list(found.outliers) == [15]
    assert "all the same" in found.describe()


def test_two_odd_images_among_twelve_are_named():
    scores = np.append(np.random.default_rng(5).gumbel(5, 1, 10), [40.0, 42.0])
    found = Calibration(scores, 0.01)
    assert list(found.outliers) == [10, 11]
    assert found.threshold < 20


def test_no_number_of_images_meets_a_target_of_nothing():
    found = Calibration(np.arange(1.0, 12.0), 0.0, "quantile")
    assert (found.missing, found.until_certain) == (0, 0)
    assert "more" not in found.describe()


def test_the_order_alone_asks_for_images_until_the_rate_is_certain():
    few = Calibration(np.arange(1.0, 201.0), 0.01, "quantile")
    assert few.interval[1] > 0.02
    count = 200 + few.until_certain
    assert count > 300
    assert Calibration(np.arange(1.0, count + 1), 0.01, "quantile").interval[1] <= 0.02


@pytest.mark.parametrize("threshold", [0.0, 3.5, 100.0])
def test_any_threshold_has_an_interval(threshold):
    model = Calibration(np.arange(1.0, 11.0), 0.05, "quantile").model
    low, high = model.interval(threshold)
    above = sum(score > threshold for score in range(1, 11))
    exact = stats.binomtest(above, 10).proportion_ci(method="exact")  # Clopper and Pearson's upper end
    assert high == pytest.approx(exact.high)
    assert 0 <= low < high


@pytest.mark.parametrize(("usual", "count"), [(1.0, 11), (1.0, 8), (0.1, 11), (2.9, 11)])
def test_rounding_makes_no_difference_where_none_is(usual, count):
    """Sums of squares around a distant mean leave a trace: neither a distribution nor an odd image."""
    found = Calibration(np.array([usual] * count + [5.0]), 0.01)
    assert found.threshold == usual and list(found.outliers) == [count]
    assert "all the same" in found.describe()
    assert found.false_alarm_probability([usual + 1e-6])[0] == pytest.approx(1 / (count + 1))


@pytest.mark.parametrize(("count", "odd"), [(400, 32), (1000, 80), (2000, 100)])
def test_up_to_a_tenth_may_be_odd_of_any_number(count, odd):
    rng = np.random.default_rng(count)
    scores = rng.gumbel(5, 1, count)
    scores[:odd] += 30
    found = Calibration(scores, 0.01)
    assert list(found.outliers) == list(range(odd))
    assert found.threshold == pytest.approx(stats.gumbel_r.isf(0.01, 5, 1), rel=0.1)
