"""Tails of few scores: against Student's t, simulation, and a naive search for outliers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from discrepancy.decisions.tails import FAMILIES, Tail, estimate, uncertainty

SAMPLERS = {
    "normal": lambda rng, n: rng.normal(5.0, 2.0, n),
    "gumbel": lambda rng, n: rng.gumbel(5.0, 2.0, n),
    "lognormal": lambda rng, n: rng.lognormal(1.0, 0.4, n),
    "frechet": lambda rng, n: np.exp(rng.gumbel(1.0, 0.2, n)),
    "weibull": lambda rng, n: 3.0 * rng.weibull(2.5, n),
    "loglogistic": lambda rng, n: np.exp(rng.logistic(1.0, 0.3, n)),
}
EXCEEDED = {
    "normal": lambda x: stats.norm.sf(x, 5.0, 2.0),
    "gumbel": lambda x: stats.gumbel_r.sf(x, 5.0, 2.0),
    "lognormal": lambda x: stats.lognorm.sf(x, 0.4, scale=np.e),
    "frechet": lambda x: stats.gumbel_r.sf(np.log(x), 1.0, 0.2),
    "weibull": lambda x: stats.weibull_min.sf(x, 2.5, scale=3.0),
    "loglogistic": lambda x: stats.logistic.sf(np.log(x), 1.0, 0.3),
}


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01])
@pytest.mark.parametrize("count", [5, 12, 40])
def test_without_outliers_the_normal_limit_is_students(count, rate):
    place = uncertainty("normal", count, robust=False).place(rate)
    assert place == pytest.approx(stats.t.isf(rate, count - 1) * np.sqrt(1 + 1 / count), rel=0.01)


@pytest.mark.parametrize("count", [8, 30])
def test_the_interval_is_that_of_the_noncentral_t(count):
    known = uncertainty("normal", count, robust=False)
    place = known.place(0.05)

    def at_most(rate):  # probability that the true rate is at most this one
        return stats.nct.cdf(place * np.sqrt(count), count - 1, stats.norm.isf(rate) * np.sqrt(count))

    exact = [brentq(lambda rate, share=share: 1 - at_most(rate) - share, 1e-9, 0.9) for share in (0.975, 0.025)]
    assert known.interval(place) == pytest.approx(sorted(exact), rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_standardised(family):
    drawn = FAMILIES[family].draw(np.random.default_rng(1), (1, 200_000))[0]
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.std() == pytest.approx(1, abs=0.01)
    for place in (-1.0, 0.0, 2.0):
        assert FAMILIES[family].survival(np.array([place]))[0] == pytest.approx((drawn > place).mean(), abs=0.005)


@pytest.mark.parametrize("family", SAMPLERS)
def test_thresholds_are_exceeded_as_often_as_expected(family):
    """Means over samples of the true rate, which the family's own distribution tells."""
    rng = np.random.default_rng(2)
    tails = [Tail(family, SAMPLERS[family](rng, 15)) for _ in range(1500)]
    true = np.array([EXCEEDED[family](tail.threshold(0.05)) for tail in tails])
    assert true.mean() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("family", SAMPLERS)
def test_probabilities_belong_to_the_threshold(family):
    tail = Tail(family, SAMPLERS[family](np.random.default_rng(3), 20))
    for rate in (0.2, 0.05, 0.001):
        assert tail.expected([tail.threshold(rate)])[0] == pytest.approx(rate, rel=0.02)
    scores = np.linspace(0.1, 40, 200)
    assert (np.diff(tail.expected(scores)) <= 0).all()


def naive_outliers(values, critical):
    """Take the value farthest from the mean away while it is too far, or a later one is: Rosner's procedure."""
    left, order, far = list(values), [], 0
    for step in range(max(1, len(values) // 10)):
        mean, deviation = np.mean(left), np.std(left, ddof=1)
        worst = int(np.argmax(np.abs(np.array(left) - mean)))
        if abs(left[worst] - mean) / deviation > critical:
            far = step + 1
        order.append(left.pop(worst))
    return sorted(order[:far])


@pytest.mark.parametrize("seed", range(30))
def test_outliers_are_those_of_a_naive_search(seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=30))
    values[-1 - seed % 3 :] += 3.0 + seed % 4
    found = estimate(values[None], 2.9)
    naive = naive_outliers(values, 2.9)
    assert sorted(values[found.outliers[0]]) == pytest.approx(naive)
    kept = values[~found.outliers[0]]
    assert found.location[0] == pytest.approx(kept.mean())
    assert found.scale[0] == pytest.approx(kept.std(ddof=1))


def test_one_outlier_does_not_rule():
    scores = np.random.default_rng(4).gumbel(10, 1, 16)
    odd = np.append(scores, 60.0)
    assert list(Tail("gumbel", odd).outliers) == [16]
    assert Tail("gumbel", odd).threshold(0.01) < 1.1 * Tail("gumbel", scores).threshold(0.01)
    assert Tail("gumbel", odd, robust=False).threshold(0.01) > 50


@pytest.mark.parametrize("family", ["gumbel", "normal"])
def test_few_samples_without_outliers_lose_a_score(family):
    rng = np.random.default_rng(5)
    lost = [len(Tail(family, SAMPLERS[family](rng, 20)).outliers) > 0 for _ in range(1000)]
    assert np.mean(lost) < 0.03


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_thresholds_scale_with_the_scores(factor):
    scores = np.random.default_rng(6).gumbel(10, 1, 12)
    for family in FAMILIES:
        scaled = Tail(family, factor * scores).threshold(0.02)
        assert scaled == pytest.approx(factor * Tail(family, scores).threshold(0.02), rel=1e-9)


def test_thousands_of_scores_are_as_certain_as_students_t_says():
    known = uncertainty("normal", 4000, robust=False)
    place = known.place(0.01)
    assert place == pytest.approx(stats.t.isf(0.01, 3999) * np.sqrt(1 + 1 / 4000), rel=0.005)
    low, high = known.interval(place)
    exact = [
        brentq(
            lambda q, share=share: stats.nct.sf(place * np.sqrt(4000), 3999, stats.norm.isf(q) * np.sqrt(4000)) - share,
            1e-4,
            0.1,
        )
        for share in (0.975, 0.025)
    ]
    assert (low, high) == pytest.approx(sorted(exact), rel=0.03)
    drawn = np.random.default_rng(7).normal(size=(200, 4000))
    lost = [len(Tail("normal", scores).outliers) > 0 for scores in drawn]
    assert np.mean(lost) < 0.05
