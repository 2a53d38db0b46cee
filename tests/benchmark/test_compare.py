"""Tests of difference against their definitions, written out naively."""

import math
from itertools import combinations, product
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from discrepancy.benchmark.comparison import (
    compare,
    critical_difference,
    fewest_categories,
    friedman_p,
    holm,
    rank_methods,
    signed_rank_p,
)
from tests.made_up_results import MVTEC, made_up_results

STEPS = st.lists(st.integers(-4, 4), min_size=1, max_size=8)  # few values: many ties and zeros


def mid_ranks(values):
    """Ranks from 1, ties sharing theirs, by counting."""
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_signed_rank_test_counts_all_signs(differences):
    known = [d for d in differences if d]
    assume(known)
    ranks = mid_ranks([abs(d) for d in known])
    observed = sum(r for r, d in zip(ranks, known, strict=True) if d > 0)
    middle = sum(ranks) / 2
    as_far = [
        abs(sum(r for r, up in zip(ranks, signs, strict=True) if up) - middle) >= abs(observed - middle) - 1e-9
        for signs in product([False, True], repeat=len(known))
    ]
    assert signed_rank_p(differences) == pytest.approx(sum(as_far) / len(as_far), abs=1e-9)


@settings(deadline=None)
@given(STEPS)
def test_the_signed_rank_test_has_no_favourite(differences):
    assert signed_rank_p(differences) == pytest.approx(signed_rank_p([-d for d in differences]))
    assert signed_rank_p(differences[::-1]) == pytest.approx(signed_rank_p(differences))


def test_a_single_large_loss_does_not_turn_the_verdict_round():
    gaps = [0.010 + 0.001 * i for i in range(14)] + [-0.5]  # higher in 14 of 15, lower on average
    trials = [
        {"dataset": "d", "category": f"c{i}", "method": method, "seed": 0, "state": "done", "image_auroc": value}
        for i, gap in enumerate(gaps)
        for method, value in (("dfc", 0.6 + gap / 2), ("dfr", 0.6 - gap / 2))
    ]
    (row,) = compare(pd.DataFrame(trials), ["image_auroc"]).to_dict("records")
    assert row["p_holm"] < 0.05 and row["mean_difference"] < 0
    assert row["note"] == "dfc is higher than dfr"


@pytest.mark.parametrize("count", [1, 3, 6, 13, 15, 20])
def test_the_smallest_p(count):
    assert signed_rank_p(np.arange(1, count + 1)) == pytest.approx(2 / 2**count, rel=1e-9)


def test_nothing_that_differs_is_no_difference():
    assert signed_rank_p([]) == signed_rank_p([0.0, 0.0]) == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_by_its_definition(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    expected = {
        i: min(1.0, max((len(values) - j) * values[order[j]] for j in range(step + 1))) for step, i in enumerate(order)
    }
    assert holm(values) == pytest.approx([expected[i] for i in range(len(values))])


def test_holm_rejects_no_more_than_it_should():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.permutations([0.1, 0.5, 0.7]), min_size=6, max_size=12))
def test_friedman_by_its_formula(rows):
    scores = np.array(rows)
    count, methods = scores.shape
    sums = [sum(mid_ranks(list(row))[m] for row in rows) for m in range(methods)]
    chi = 12 / (count * methods * (methods + 1)) * sum(s * s for s in sums) - 3 * count * (methods + 1)
    assert friedman_p(scores) == pytest.approx(stats.chi2.sf(chi, methods - 1), abs=1e-9)
    assert friedman_p(np.ones((4, 3))) == 1.0


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_has_the_printed_quantiles(methods, q):
    """Quantiles of Demsar (2006), table 5a."""
    assert critical_difference(methods, 14) == pytest.approx(q * math.sqrt(methods * (methods + 1) / 84), abs=1e-3)


def test_how_many_categories_it_takes():
    for pairs in (1, 3, 6):
        needed = fewest_categories(pairs)
        assert pairs * 2 / 2**needed <= 0.05 < pairs * 2 / 2 ** (needed - 1)
    assert fewest_categories(1) == 6


def means_of(results, method, metric):
    """Mean over seeds per category, naively."""
    rows = results[(results["method"] == method) & (results["state"] == "done")].to_dict("records")
    return {c: mean(r[metric] for r in rows if r["category"] == c) for c in sorted({r["category"] for r in rows})}


def test_pairs_are_compared_over_categories_not_over_cells():
    results = made_up_results("mvtec_ad", MVTEC, seeds=(0, 1, 2), failed=[("pill", "dfr", s) for s in (0, 1, 2)])
    table = compare(results, ["image_ap"])
    assert list(zip(table["method"], table["other"], strict=True)) == list(combinations(["dfc", "dfr", "fod"], 2))
    for row in table.to_dict("records"):
        one, other = means_of(results, row["method"], "image_ap"), means_of(results, row["other"], "image_ap")
        gaps = [one[c] - other[c] for c in MVTEC if c != "pill"]  # what a method has not finished counts for none
        assert row["categories"] == len(gaps) == 14
        assert row["mean_difference"] == pytest.approx(mean(gaps))
        assert (row["wins"], row["losses"]) == (sum(g > 0 for g in gaps), sum(g < 0 for g in gaps))
        assert row["p"] == pytest.approx(stats.wilcoxon(gaps, method="exact").pvalue)
    assert list(table["p_holm"]) == pytest.approx(holm(list(table["p"])))
    assert table["note"].iloc[0] == "dfc is higher than dfr"


def test_too_few_categories_are_said_in_words():
    table = compare(made_up_results(), ["image_auroc"])
    assert table["p"].min() == 2 / 2**3
    for note in table["note"]:
        assert (
            note.startswith("3 categories are too few to tell") and "below 0.75" in note and "from 7 categories" in note
        )
    ranks = rank_methods(made_up_results(), ["image_auroc"])
    assert ranks["critical_difference"].isna().all() and "too few categories to tell: 3" in ranks["note"][0]
    assert compare(made_up_results(categories=("gear",)))["note"][0].startswith("1 category is too few")


def test_a_worse_method_is_named_second_and_equal_ones_stay_unnamed():
    results = made_up_results("mvtec_ad", MVTEC, methods=("a", "b"))
    results.loc[results["method"] == "a", "image_auroc"] -= 0.5
    assert compare(results, ["image_auroc"])["note"][0] == "b is higher than a"
    results["image_auroc"] = 0.1 + 0.2 * (results["method"] == "a") - 0.2 * (results["method"] == "a")  # rounding apart
    row = compare(results, ["image_auroc"]).iloc[0]
    assert (row["wins"], row["losses"], row["p"]) == (0, 0, 1.0) and row[
        "note"
    ] == "no difference shown between a and b"


def test_ranks_are_means_over_categories():
    results = made_up_results("mvtec_ad", MVTEC)
    table = rank_methods(results, ["pixel_ap"])
    means = {method: means_of(results, method, "pixel_ap") for method in ("dfc", "dfr", "fod")}
    for row in table.to_dict("records"):
        ranks = [mid_ranks([-means[m][c] for m in means])[list(means).index(row["method"])] for c in MVTEC]
        assert row["mean_rank"] == pytest.approx(mean(ranks)) and row["categories"] == 15
        assert row["critical_difference"] == pytest.approx(2.343 * math.sqrt(12 / 90), abs=1e-3)
        assert row["friedman_p"] == pytest.approx(friedman_p(np.array([[means[m][c] for m in means] for c in MVTEC])))
    assert table["mean_rank"].is_monotonic_increasing
    assert "dfc above fod" in table["note"][0]


def test_one_method_alone_is_not_compared():
    alone = made_up_results(methods=("dfr",))
    assert compare(alone).empty and rank_methods(alone).empty
    assert list(compare(alone).columns) == list(compare(made_up_results()).columns)


def test_methods_that_share_no_category_have_nothing_to_compare():
    failed = [("cable", "a", 0), ("gear", "b", 0)]
    results = made_up_results(categories=("cable", "gear"), methods=("a", "b"), seeds=(0,), failed=failed)
    row = compare(results, ["image_ap"]).iloc[0]
    assert row["categories"] == 0 and "nothing to compare" in row["note"] and math.isnan(row["mean_difference"])
    assert not pd.isna(rank_methods(results, ["image_ap"])["note"]).any()
