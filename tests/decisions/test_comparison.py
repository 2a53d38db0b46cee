import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ks_2samp, mannwhitneyu

from discrepancy.decisions.comparison import Comparison, compare_scores
from discrepancy.errors import InputError

SCORES = hnp.arrays(np.float64, st.integers(2, 30), elements=st.integers(-20, 20).map(lambda number: number / 8))


def made_scores(count, *, seed, factor=1.0):
    """Positive scores with a long tail, as those of good parts."""
    return factor * np.exp(0.3 * np.random.default_rng(seed).normal(size=count))


@pytest.mark.filterwarnings("ignore:ks_2samp")  # from the reference; `compare_scores` gives none, see below
@settings(max_examples=150, deadline=None)
@given(SCORES, SCORES)
def test_numbers_are_those_of_scipy_and_of_all_pairs(before, now):
    found = compare_scores(before, now)
    assert found.p_value == ks_2samp(before, now).pvalue
    pairs = np.sign(now[:, None] - before[None, :])
    assert found.probability_higher == pytest.approx((pairs.mean() + 1) / 2)
    statistic = mannwhitneyu(now, before, method="asymptotic").statistic
    assert found.probability_higher == pytest.approx(statistic / (before.size * now.size))
    assert (found.count_before, found.count_now) == (before.size, now.size)
    assert (found.median_before, found.median_now) == (np.median(before), np.median(now))
    if min(found.median_before, found.median_now) > 0:
        assert found.ratio == np.median(now) / np.median(before)
    else:
        assert math.isnan(found.ratio)


@pytest.mark.parametrize("factor", [0.5, 1.8])
def test_a_change_is_noticed_whichever_way_it_goes(factor):
    before, now = made_scores(100, seed=0), made_scores(60, seed=1, factor=factor)
    there, back = compare_scores(before, now), compare_scores(now, before)
    assert there.drifted and back.drifted
    assert there.p_value == pytest.approx(back.p_value)
    assert there.probability_higher == pytest.approx(1 - back.probability_higher)
    assert (there.probability_higher > 0.5) == (factor > 1)
    assert there.ratio == pytest.approx(1 / back.ratio) == pytest.approx(factor, rel=0.15)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_no_change_is_seldom_taken_for_one_even_where_scores_tie(decimals):
    drifted = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        before, now = (np.round(rng.normal(5, 1, size=size), decimals) for size in (100, 60))
        drifted.append(compare_scores(before, now).drifted)
    assert np.mean(drifted) <= 0.02


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", range(2, 40))
def test_scores_in_turn_are_no_change_and_no_warning(count):
    found = compare_scores(np.arange(count), np.arange(count) + 0.5)
    assert found.p_value == pytest.approx(1.0, abs=0.01)


def test_equal_scores_are_no_change():
    found = compare_scores(np.ones(100), np.ones(60))
    assert found.p_value == 1.0 and found.probability_higher == 0.5 and found.ratio == 1.0


def test_describe_says_what_changed_and_what_follows():
    text = compare_scores(made_scores(30, seed=0), made_scores(25, seed=1, factor=1.8)).describe()
    assert text.startswith(
        "The scores of 25 new photographs differ from those of the 30 photographs of the calibration before (p = "
    )
    assert "A new photograph scores higher than an old one with probability 0.9" in text
    assert "need not keep its false-alarm rate" in text and "calibrate anew" in text


COMPARISON = Comparison(100, 60, 2.0, 3.6, 2.1e-9, 0.968, 1.8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["differ from", "(p = 2e-9)", "higher than an old one with probability 0.97; the median is 1.8 times"]),
        ({"p_value": 0.0}, ["differ from", "(p < 1e-12)"]),
        ({"p_value": 0.0042}, ["differ from", "(p = 0.0042)"]),
        ({"p_value": 0.01}, ["do not differ noticeably from", "(p = 0.01)"]),
        ({"p_value": 1.0}, ["do not differ noticeably from", "(p = 1)"]),
        ({"probability_higher": 0.1, "ratio": 0.583}, ["lower than an old one with probability 0.90", "0.583 times"]),
        ({"probability_higher": 0.998}, ["higher than an old one with probability over 0.99"]),
        ({"probability_higher": 0.0}, ["lower than an old one with probability 1.00"]),
        ({"ratio": math.nan, "median_before": -1.0}, ["the median was -1 and is 3.6."]),
    ],
)
def test_words(changes, words):
    text = dataclasses.replace(COMPARISON, **changes).describe()
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(("count", "few"), [(19, True), (20, False)])
def test_few_photographs_without_a_change_are_called_few(count, few):
    same = dataclasses.replace(COMPARISON, p_value=0.4)
    for sizes in ({"count_now": count}, {"count_before": count}):
        assert ("so few photographs" in dataclasses.replace(same, **sizes).describe()) == few
        assert "so few photographs" not in dataclasses.replace(COMPARISON, **sizes).describe()


def test_is_frozen_and_plain():
    found = compare_scores(np.float32([1, 2]), [3, 4])
    kinds = {name: type(value) for name, value in dataclasses.asdict(found).items()}
    assert kinds.pop("count_before") is kinds.pop("count_now") is int
    assert set(kinds.values()) == {float}
    assert type(found.drifted) is bool
    with pytest.raises(AttributeError):
        found.ratio = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "at least one value"),
        ([1.0], r"has shape \(1,\); at least 2 scores"),
        ([[1.0, 2.0], [3.0, 4.0]], r"has shape \(2, 2\)"),
        ([1.0, math.nan, 2.0], r"\[1\] is nan; a finite score"),
        ([1.0, 3.0, math.inf], r"\[2\] is inf; a finite score"),
        (["a", "b"], "has dtype"),
    ],
)
def test_unusable_scores_are_refused_by_name(scores, message):
    with pytest.raises(InputError, match="before.*" + message):
        compare_scores(scores, [1.0, 2.0])
    with pytest.raises(InputError, match="now.*" + message):
        compare_scores([1.0, 2.0], scores)
