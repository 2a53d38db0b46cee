import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from discrepancy.errors import InputError
from discrepancy.metrics import auroc, average_precision, f1_max, f1_max_threshold, ranks, roc_curve
from discrepancy.metrics.ranking import auroc_of
from discrepancy.metrics.ranks import Ranks
from tests.metrics.naive_metrics import f1_max as naive_f1_max

METRICS = (auroc, average_precision, f1_max)


@st.composite
def samples(draw):
    """Scores with many or no ties, labels of both classes."""
    count = draw(st.integers(2, 60))
    levels = draw(st.sampled_from([2, 5, 2**20]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int16, np.uint8]))
    top = min(levels, 255 if np.issubdtype(dtype, np.integer) else levels)
    scores = draw(hnp.arrays(np.int64, count, elements=st.integers(0, top))).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        scores = (scores - levels // 2) / dtype(8)
    labels = draw(hnp.arrays(np.bool_, count))
    labels[:2] = [True, False]
    return scores, labels


@settings(max_examples=150, deadline=None)
@given(samples())
def test_equals_scikit_learn(sample):
    scores, labels = sample
    assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-30)
    assert f1_max(scores, labels) == pytest.approx(f1.max(), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(samples())
def test_f1_threshold_gives_the_best_f1_with_the_rule_above(sample):
    scores, labels = sample
    threshold = f1_max_threshold(scores, labels)
    best, lowest_marked = naive_f1_max(scores, labels)
    found = scores > threshold
    assert 2 * (found & labels).sum() / (found.sum() + labels.sum()) == pytest.approx(best, abs=1e-12)
    assert f1_max(scores, labels) == pytest.approx(best, abs=1e-12)
    assert np.array_equal(found, scores >= lowest_marked)


def test_of_equally_good_thresholds_the_highest_is_taken():
    assert 3 < f1_max_threshold([4.0, 3.0, 2.0, 1.0], [1, 0, 0, 1]) < 4  # F1 is 2 / 3 at 4 and at 1


@settings(max_examples=50, deadline=None)
@given(samples(), st.randoms(use_true_random=False))
def test_order_of_samples_and_monotone_changes_do_not_matter(sample, random):
    scores, labels = sample
    order = np.array(random.sample(range(len(scores)), len(scores)))
    _, dense = np.unique(scores, return_inverse=True)
    for metric in METRICS:
        assert metric(scores[order], labels[order]) == metric(scores, labels)
        assert metric(np.exp(dense / 64.0), labels) == metric(scores, labels)
        assert metric(dense - 10.0**6, labels) == metric(scores, labels)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_change_nothing(monkeypatch, chunk):
    rng = np.random.default_rng(3)
    scores, labels = np.round(rng.normal(size=(10, 4, 5)), 1), rng.random((10, 4, 5)) < 0.3
    expected = [metric(scores, labels) for metric in METRICS]
    monkeypatch.setattr(ranks, "CHUNK", chunk)
    assert [metric(scores, labels) for metric in METRICS] == expected


def test_counts_of_a_million_and_more_do_not_overflow():
    scores = np.concatenate([np.zeros(3_000_000, np.float32), np.ones(2_000_000, np.float32)])
    labels = scores > 0
    assert [metric(scores, labels) for metric in METRICS] == [1.0, 1.0, 1.0]


def test_known_values():
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert auroc([1, 1, 1, 1], [0, 1, 0, 1]) == 0.5
    assert auroc([2.0, 1.0], [0, 1]) == 0.0
    assert average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert f1_max([3, 2, 1], [1, 0, 1]) == pytest.approx(0.8)
    assert auroc([-math.inf, 0.0, math.inf], [0, 0, 1]) == 1.0


def test_without_good_samples_precision_is_one():
    assert average_precision([0.3, 0.2], [1, 1]) == sk.average_precision_score([1, 1], [0.3, 0.2]) == 1.0
    assert f1_max([0.3, 0.2], [1, 1]) == 1.0
    assert f1_max([0.3], [1]) == 1.0


@settings(max_examples=60, deadline=None)
@given(samples())
def test_roc_curve_is_the_curve_of_scikit_learn(sample):
    scores, labels = sample
    fpr, tpr = roc_curve(scores, labels)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    assert np.trapezoid(tpr, fpr) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    # The position along a rising curve is x + y: both curves have to be at the same place there.
    x, y, _ = sk.roc_curve(labels, scores)
    assert np.interp(x + y, fpr + tpr, tpr) == pytest.approx(y, abs=1e-12)


def test_thinned_curve_stays_close():
    rng = np.random.default_rng(5)
    labels = rng.random(20_000) < 0.4
    scores = rng.normal(size=20_000) + labels
    full = np.array(roc_curve(scores, labels, points=10**9))
    thinned = np.array(roc_curve(scores, labels, points=101))
    assert 90 < thinned.shape[1] <= 101 < full.shape[1]
    assert tuple(thinned[:, 0]) == (0, 0) and tuple(thinned[:, -1]) == (1, 1)
    there = [np.interp(full.sum(axis=0), thinned.sum(axis=0), axis) for axis in thinned]
    assert np.abs(full - there).sum(axis=0).max() <= 2 / 100


@pytest.mark.parametrize("metric", [*METRICS, f1_max_threshold, roc_curve])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, math.nan, 0.3], [0, 0, 1], r"scores\[1\] holds a NaN"),
        ([0.1, 0.2, math.nan], [0, 0, 1], r"scores\[2\] holds a NaN"),
        ([[0.1, 0.2], [math.nan, 0.3]], [[0, 0], [0, 1]], r"scores\[1\] holds a NaN"),
        ([0.1, math.nan], [0, 0], r"scores\[1\] holds a NaN"),
        ([0.1, 0.2], [0, 0], "nothing anomalous"),
        ([0.1, 0.2], [0, 1, 1], r"scores has shape \(2,\) and labels has shape \(3,\)"),
        ([0.1, 0.2], [0, 2], "labels holds 2"),
        ([0.1, 0.2], ["good", "bad"], "labels has dtype"),
        ([], [], "at least one value"),
        (0.5, 1, "at least one value"),
        ([[0.1], [0.2, 0.3]], [0, 1], "different lengths"),
        (["a", "b"], [0, 1], "scores has dtype"),
    ],
)
def test_unusable_input_is_refused(metric, scores, labels, message):
    with pytest.raises(InputError, match=message):
        metric(scores, labels)


def test_auroc_needs_both_classes():
    for metric in (auroc, roc_curve):
        with pytest.raises(InputError, match="nothing good"):
            metric([0.1, 0.2], [1, 1])


def test_a_curve_has_two_points():
    with pytest.raises(InputError, match="points is 1"):
        roc_curve([0.1, 0.2], [0, 1], points=1)


def test_auroc_of_more_samples_than_64_bits_can_count_pairs_of():
    """100,000 maps of 1024 x 1024, a tenth of the pixels anomalous; the sum in whole numbers of Python."""
    good, at, count = 94_371_840_000, 10_485_760, 1000
    below = np.linspace(0, good, count).astype(np.int64)
    ranks = Ranks(np.arange(count), np.full(count, at), below, below, good)
    wins = sum(at * 2 * int(place) for place in below)
    assert wins > 2**63 and auroc_of(ranks) == wins / (2 * good * at * count)
