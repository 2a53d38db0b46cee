import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest

from discrepancy.errors import InputError
from discrepancy.metrics import oracle_detection_at_target, rate_metrics, share_interval

TARGETS = st.one_of(st.floats(0, 0.999), st.sampled_from([0.0, 0.1, 0.29, 1 / 3, 0.5]))


@st.composite
def samples(draw):
    """Scores with many or no ties, labels of both classes."""
    count = draw(st.integers(2, 40))
    levels = draw(st.sampled_from([2, 5, 2**20]))
    scores = draw(hnp.arrays(np.int64, count, elements=st.integers(-levels, levels))).astype(np.float32) / 8
    labels = draw(hnp.arrays(np.bool_, count))
    labels[:2] = [True, False]
    return scores, labels


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(1, 300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_that_of_scipy(hits, count, confidence):
    hits = min(hits, count)
    reference = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    low, high = share_interval(hits, count, confidence)
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert 0 <= low <= hits / count <= high <= 1


def test_interval_reaches_the_ends_exactly():
    for count in range(1, 60):
        for confidence in np.linspace(0.5, 0.995, 34):
            assert share_interval(0, count, confidence)[0] == 0.0
            assert share_interval(count, count, confidence)[1] == 1.0
    assert share_interval(1, 1) == pytest.approx((0.2065, 1.0), abs=1e-4)


def test_nothing_counted_has_no_interval():
    assert all(map(math.isnan, share_interval(0, 0)))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_interval_holds_the_true_share_about_as_often_as_it_says(share):
    rng = np.random.default_rng(0)
    intervals = [share_interval(int(hits), 60) for hits in rng.binomial(60, share, size=2000)]
    assert np.mean([low <= share <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 3), "hits is -1"),
        ((4, 3), "hits is 4; a number from 0 to count, 3,"),
        ((0, -1), "hits is 0"),
        ((1, 3, 0.0), "confidence is 0.0"),
        ((1, 3, 1.0), "confidence is 1.0"),
        ((1, 3, math.nan), "confidence is nan"),
    ],
)
def test_unusable_counts_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        share_interval(*arguments)


def test_rates_are_shares_of_each_kind_with_their_intervals():
    labels = [0, 1, 0, 1, 1, 0, 0]
    found = [0, 1, 1, 0, 1, 0, 0]
    rates = rate_metrics(found, labels)
    assert list(rates) == [
        "false_alarm_rate", "false_alarm_rate_low", "false_alarm_rate_high",
        "detection_rate", "detection_rate_low", "detection_rate_high",
    ]  # fmt: skip
    assert rates["false_alarm_rate"] == 1 / 4 and rates["detection_rate"] == 2 / 3
    assert (rates["false_alarm_rate_low"], rates["false_alarm_rate_high"]) == share_interval(1, 4)
    assert (rates["detection_rate_low"], rates["detection_rate_high"]) == share_interval(2, 3)
    assert all(type(value) is float for value in rates.values())
    assert rate_metrics(np.array(found, bool), np.array(labels, bool)) == rates


@pytest.mark.parametrize(("label", "missing"), [(0, "detection_rate"), (1, "false_alarm_rate")])
def test_rates_of_a_kind_that_is_missing_are_nan(label, missing):
    rates = rate_metrics([True, False], [label, label])
    assert {name.removesuffix("_low").removesuffix("_high") for name, v in rates.items() if math.isnan(v)} == {missing}


@pytest.mark.parametrize(
    ("found", "labels", "message"),
    [
        ([0, 1], [0, 1, 1], r"anomalous has shape \(2,\) and labels has shape \(3,\)"),
        ([0, 2], [0, 1], "anomalous holds 2"),
        ([0, 1], [0, -1], "labels holds -1"),
        ([], [], "at least one value"),
    ],
)
def test_unusable_decisions_are_refused(found, labels, message):
    with pytest.raises(InputError, match=message):
        rate_metrics(found, labels)


@settings(max_examples=200, deadline=None)
@given(samples(), TARGETS)
def test_oracle_is_the_best_of_all_thresholds(sample, target):
    scores, labels = sample
    thresholds = np.append(np.unique(scores), np.float32(-np.inf))  # the decisions change nowhere else
    kept = [(scores[labels] > t).mean() for t in thresholds if (scores[~labels] > t).mean() <= target]
    assert oracle_detection_at_target(scores, labels, target) == max(kept)


@settings(max_examples=100, deadline=None)
@given(samples(), TARGETS, st.randoms(use_true_random=False))
def test_order_of_images_and_monotone_changes_do_not_matter(sample, target, random):
    scores, labels = sample
    order = random.sample(range(len(scores)), len(scores))
    _, dense = np.unique(scores, return_inverse=True)
    expected = oracle_detection_at_target(scores, labels, target)
    assert oracle_detection_at_target(scores[order], labels[order], target) == expected
    assert oracle_detection_at_target(np.exp(dense / 64.0), labels, target) == expected
    assert oracle_detection_at_target(dense - 10**6, labels, target) == expected


@pytest.mark.parametrize(("count", "target"), [(100, 0.29), (1000, 0.07), (3, 1 / 3), (10, math.nextafter(0.9, 0))])
def test_the_target_is_not_rounded_away(count, target):
    scores, labels = np.repeat(np.arange(count), 2), np.tile([False, True], count)
    # Each defective image ties with a good one: it is found only together with that false alarm.
    allowed = max(k for k in range(count) if k / count <= target)
    assert oracle_detection_at_target(scores, labels, target) == allowed / count


def test_oracle_at_known_values():
    assert oracle_detection_at_target([1, 2, 3, 4], [0, 0, 1, 1], 0.0) == 1.0
    assert oracle_detection_at_target([3, 4, 1, 2], [0, 0, 1, 1], 0.5) == 0.0
    assert oracle_detection_at_target([-math.inf, 0.0, math.inf, 1.0], [1, 0, 1, 0], 0.0) == 0.5
    assert math.isnan(oracle_detection_at_target([1, 2], [0, 0], 0.1))
    assert math.isnan(oracle_detection_at_target([1, 2], [1, 1], 0.1))


@pytest.mark.parametrize(
    ("scores", "labels", "target", "message"),
    [
        ([0.1, math.nan], [0, 1], 0.1, r"scores\[1\] holds a NaN"),
        ([math.nan, 0.1], [0, 0], 0.1, r"scores\[0\] holds a NaN"),
        ([0.1], [0, 1], 0.1, r"scores has shape \(1,\)"),
        ([0.1, 0.2], [0, 2], 0.1, "labels holds 2"),
        ([0.1, 0.2], [0, 1], 1.0, "target is 1.0"),
        ([0.1, 0.2], [0, 1], -0.1, "target is -0.1"),
        ([0.1, 0.2], [0, 1], math.nan, "target is nan"),
    ],
)
def test_unusable_scores_are_refused(scores, labels, target, message):
    with pytest.raises(InputError, match=message):
        oracle_detection_at_target(scores, labels, target)
