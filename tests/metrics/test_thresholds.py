import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest

from discrepancy.errors import InputError
from discrepancy.metrics import Threshold, threshold_at_fpr, thresholds
from tests.metrics.traced_peak import traced_peak


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 200), elements=st.integers(-20, 20).map(lambda number: number / 8)),
    st.floats(0, 0.999),
)
def test_is_the_lowest_score_that_keeps_the_rate(scores, fpr):
    threshold = threshold_at_fpr(scores, fpr=fpr)
    good = [value for value in np.unique(scores) if np.mean(scores > value) <= fpr]
    assert threshold.value == min(good)
    assert threshold.above == (scores > threshold.value).sum()
    assert threshold.above / len(scores) <= fpr
    assert threshold.count == threshold.images == len(scores)


@pytest.mark.parametrize(
    ("count", "fpr"),
    [(100, 0.29), (100, 0.01), (1000, 0.07), (3, 1 / 3), (10, 0.1), (10, math.nextafter(0.9, 0)), (7, 0.0)],
)
def test_the_share_is_not_rounded_away(count, fpr):
    threshold = threshold_at_fpr(np.arange(count), fpr=fpr)
    assert threshold.above == max(k for k in range(count) if k / count <= fpr)


def test_chunks_change_nothing(monkeypatch):
    maps = np.random.default_rng(1).normal(size=(60, 2, 5)).astype(np.float32).round(2)
    ordered = np.sort(maps, axis=None)
    for chunk in (10, 60, 70, 230, 300, 590, 600):
        monkeypatch.setattr(thresholds, "CHUNK", chunk)
        for allowed in (0, 5, 59, 299, 599):
            threshold = threshold_at_fpr(maps, fpr=(allowed + 0.5) / 600)
            assert threshold.value == ordered[-1 - allowed] and threshold.count == 600 and threshold.images == 60
            assert threshold.above == (ordered > threshold.value).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_ties_longer_than_a_chunk_end_the_search(monkeypatch, dtype):
    monkeypatch.setattr(thresholds, "CHUNK", 5)
    scores = np.random.default_rng(2).permutation(np.repeat([7, 3, 2, 0], [4, 40, 1, 15])).astype(dtype)
    found = [threshold_at_fpr(scores, fpr=(allowed + 0.5) / 60) for allowed in range(60)]
    assert [threshold.value for threshold in found] == [7] * 4 + [3] * 40 + [2] + [0] * 15
    assert [threshold.above for threshold in found] == [0] * 4 + [4] * 40 + [44] + [45] * 15


def test_scores_are_read_as_often_as_is_needed(monkeypatch):
    monkeypatch.setattr(thresholds, "CHUNK", 10)
    passes = []
    original = thresholds._highest

    def counted(scores, count, *, ceiling):
        passes.append(count)
        return original(scores, count, ceiling=ceiling)

    monkeypatch.setattr(thresholds, "_highest", counted)
    for allowed, expected in ((0, [1]), (9, [10]), (10, [10, 10]), (29, [10, 10, 10])):
        passes.clear()
        assert threshold_at_fpr(np.arange(100), fpr=allowed / 100).above == allowed
        assert passes == expected


def test_infinite_scores_have_their_rank(monkeypatch):
    monkeypatch.setattr(thresholds, "CHUNK", 2)
    scores = np.array([-math.inf, math.inf, 1.0, -math.inf, -math.inf])
    values = [threshold_at_fpr(scores, fpr=(allowed + 0.5) / 5).value for allowed in range(5)]
    assert values == [math.inf, 1.0, -math.inf, -math.inf, -math.inf]


def test_memory_does_not_grow_with_the_maps(monkeypatch):
    monkeypatch.setattr(thresholds, "CHUNK", 2000)
    peaks = [
        traced_peak(threshold_at_fpr, np.random.default_rng(0).random((count, 1000), dtype=np.float32))
        for count in (400, 2000)
    ]
    assert peaks[1] - peaks[0] < 8_000  # the highest percent of the scores would be 64,000 bytes more


def test_scores_are_left_as_they_were():
    scores = np.random.default_rng(1).normal(size=1000)
    before = scores.copy()
    threshold_at_fpr(scores)
    assert np.array_equal(scores, before)


@pytest.mark.parametrize(("count", "fpr"), [(20, 0.0), (30, 0.1), (300, 0.05)])
def test_interval_holds_the_true_rate_as_often_as_it_says(count, fpr):
    # Uniform scores: the true false-positive rate of a threshold t is 1 - t.
    rng = np.random.default_rng(7)
    found = [threshold_at_fpr(rng.random(count), fpr=fpr) for _ in range(1500)]
    inside = [t.interval[0] <= 1 - t.value <= t.interval[1] for t in found]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("count", "fpr"), [(3, 0.01), (250, 0.02)])
def test_upper_end_is_that_of_clopper_and_pearson(count, fpr):
    threshold = threshold_at_fpr(np.arange(count, dtype=float), fpr=fpr)
    reference = binomtest(threshold.above, count).proportion_ci(0.95, method="exact")
    assert threshold.interval[1] == pytest.approx(reference.high, abs=1e-9)
    assert threshold.interval[0] >= reference.low


def test_pixels_of_one_image_count_once():
    maps = np.random.default_rng(0).normal(size=(3, 50, 50))
    threshold = threshold_at_fpr(maps, fpr=0.01)
    assert (threshold.images, threshold.count, threshold.above) == (3, 7500, 75)
    for images in (1, 2, 200):  # neither are they the same: the target rate stays possible
        low, high = threshold_at_fpr(maps, images=images).interval
        assert low < 0.01 < high and high == threshold_at_fpr(np.arange(images), fpr=0.01).interval[1]
    flat = threshold_at_fpr(maps.ravel(), fpr=0.01, images=3)
    assert flat == threshold
    assert threshold_at_fpr(maps.ravel(), fpr=0.01).interval[1] < 0.02 < threshold.interval[1]


def test_describe_says_how_uncertain():
    few = threshold_at_fpr([0.1, 0.2, 0.3])
    assert few.describe() == (
        "threshold 0.3 from 3 held-out good images, 0 above it. Target false-positive rate 1 %, true rate 0.84 % to "
        "71 % (95 % confidence). Too few: a rate of 1 % needs at least 100 good images."
    )
    many = threshold_at_fpr(np.arange(1000))
    assert "Too few" not in many.describe() and "10 above it" in many.describe()
    assert "Too few" not in threshold_at_fpr(np.arange(100)).describe()
    pixels = threshold_at_fpr(np.zeros((1, 4, 4))).describe()
    assert "16 pixels of 1 held-out good image," in pixels and "alike" in pixels
    assert "Target false-positive rate 0 %, true rate 1.3 % to 84 %" in threshold_at_fpr([1.0, 2.0], fpr=0).describe()


def test_is_frozen_and_plain():
    threshold = threshold_at_fpr(np.float32([1, 2]))
    assert threshold == Threshold(value=2.0, fpr=0.01, count=2, above=0, images=2)
    assert type(threshold.value) is float and type(threshold.above) is int
    with pytest.raises(AttributeError):
        threshold.value = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([], {}, "at least one value"),
        ([0.1, math.nan], {}, r"good_scores\[1\] holds a NaN"),
        ([0.1, 0.2], {"fpr": 1.0}, "fpr is 1.0"),
        ([0.1, 0.2], {"fpr": -0.1}, "fpr is -0.1"),
        ([0.1, 0.2], {"fpr": math.nan}, "fpr is nan"),
        ([0.1, 0.2], {"images": 0}, "images is 0"),
        ([0.1, 0.2], {"images": 3}, "images is 3"),
    ],
)
def test_unusable_input_is_refused(scores, options, message):
    with pytest.raises(InputError, match=message):
        threshold_at_fpr(scores, **options)
