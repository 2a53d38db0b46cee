import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.metrics import oracle_detection_at_target, roc_band
from discrepancy.metrics.bootstrap import detection_rates


def made_scores(good=30, bad=20, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=good), rng.normal(1.0, 1.5, size=bad)]), np.arange(good + bad) >= good


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 1000]), st.integers(0, 10**6))
def test_rates_are_those_of_the_samples_written_out(count, bad_count, levels, seed):
    rng = np.random.default_rng(seed)
    good, bad = (np.sort(rng.integers(0, levels, size))[::-1] for size in (count, bad_count))
    copies = [rng.multinomial(part.size, np.full(part.size, 1 / part.size), size=4) for part in (good, bad)]
    rates = detection_rates(good, bad, *copies, np.arange(count + 1))
    for draw in range(4):
        drawn_good, drawn_bad = np.repeat(good, copies[0][draw]), np.repeat(bad, copies[1][draw])
        for allowed in range(count + 1):
            thresholds = [t for t in (*good, -math.inf) if (drawn_good > t).sum() <= allowed]
            assert rates[draw, allowed] == max((drawn_bad > t).mean() for t in thresholds)


def test_without_resampling_the_rates_are_the_curve():
    scores, labels = made_scores()
    good, bad = np.sort(scores[~labels])[::-1], np.sort(scores[labels])[::-1]
    once = [np.ones((1, part.size), np.int64) for part in (good, bad)]
    (rates,) = detection_rates(good, bad, *once, np.arange(30))
    assert rates.tolist() == [oracle_detection_at_target(scores, labels, allowed / 30) for allowed in range(30)]


def test_band_lies_around_the_curve_and_narrows_with_more_images():
    widths = []
    for size in (20, 500):
        scores, labels = made_scores(size, size)
        fpr, low, high = roc_band(scores, labels)
        assert fpr[0] == 0 and fpr[-1] == low[-1] == high[-1] == 1
        assert all((np.diff(part) >= 0).all() for part in (fpr, low, high))
        curve = [oracle_detection_at_target(scores, labels, rate) for rate in fpr[:-1]]
        assert (low[:-1] <= curve).all() and (curve <= high[:-1]).all()
        widths.append(np.interp(0.2, fpr, high - low))
    assert widths[0] == pytest.approx(5 * widths[1], rel=0.4)  # as the root of the number of images


def test_band_holds_the_true_rate_about_as_often_as_it_says():
    # Good scores are uniform, defective ones uniform and 0.6 higher: at a rate f the true curve is at min(1, f + 0.6).
    inside = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([rng.random(60), rng.random(60) + 0.6])
        fpr, low, high = roc_band(scores, np.arange(120) >= 60, draws=200, seed=seed)
        at = np.searchsorted(fpr, 0.1)
        inside.append(low[at] <= fpr[at] + 0.6 <= high[at])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.06)


def test_confidence_is_the_share_of_the_draws_inside():
    scores, labels = made_scores(200, 200)
    wide, narrow = roc_band(scores, labels), roc_band(scores, labels, confidence=0.5)
    assert ((narrow[1] >= wide[1]) & (narrow[2] <= wide[2])).all()
    assert (narrow[2] - narrow[1])[20] == pytest.approx((wide[2] - wide[1])[20] * 0.6745 / 1.96, rel=0.2)


def test_perfect_scores_have_a_band_without_width():
    fpr, low, high = roc_band([0, 1, 2, 7, 8], [0, 0, 0, 1, 1])
    assert (low == 1).all() and (high == 1).all() and fpr == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_few_points_are_some_of_all():
    scores, labels = made_scores()
    fpr, low, high = roc_band(scores, labels)
    assert fpr == pytest.approx(np.arange(31) / 30)
    some = roc_band(scores, labels, points=7)
    rows = [0, 5, 10, 15, 20, 25, 30]
    assert [list(part) for part in some] == [list(part[rows]) for part in (fpr, low, high)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_type_of_the_scores_and_order_of_magnitude_do_not_matter(dtype):
    scores = np.array([0, 3, 9, 3, 7, 20, 8, 4])
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    expected = roc_band(scores.astype(np.float64), labels)
    assert np.array_equal(roc_band(scores.astype(dtype), labels), expected)
    assert np.array_equal(roc_band(np.exp(scores), labels), expected)


def test_the_same_seed_gives_the_same_band():
    scores, labels = made_scores()
    assert np.array_equal(roc_band(scores, labels, seed=3), roc_band(scores, labels, seed=3))
    assert not np.array_equal(roc_band(scores, labels, seed=3), roc_band(scores, labels, seed=4))


@pytest.mark.parametrize(
    ("scores", "labels", "options", "message"),
    [
        ([0.1, math.nan], [0, 1], {}, r"scores\[1\] holds a NaN"),
        ([0.1, 0.2], [0, 0], {}, "no defective image"),
        ([0.1, 0.2], [1, 1], {}, "no good image"),
        ([0.1, 0.2], [0, 1, 1], {}, r"scores has shape \(2,\)"),
        ([0.1, 0.2], [0, 1], {"draws": 0}, "draws is 0"),
        ([0.1, 0.2], [0, 1], {"points": 1}, "points is 1"),
        ([0.1, 0.2], [0, 1], {"confidence": 1.0}, "confidence is 1.0"),
    ],
)
def test_unusable_input_is_refused(scores, labels, options, message):
    with pytest.raises(InputError, match=message):
        roc_band(scores, labels, **options)
