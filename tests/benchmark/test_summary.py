"""The summary: means, deviations and differences as a plain loop finds them."""

import math
from functools import cache
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.benchmark.groups import KINDS, groups, in_order, is_whole
from discrepancy.benchmark.published import published_numbers
from discrepancy.benchmark.tables import compact, summarise
from discrepancy.figures.labels import label
from tests.made_up_results import COSTS, METRICS, MVTEC, made_up_results

PUBLISHED = published_numbers()
FAILED = [("gear", "fod", 1), ("weave", "dfr", 0), ("weave", "dfr", 1)]
RESULTS = made_up_results(failed=FAILED)
SUMMARY = summarise(RESULTS, PUBLISHED)


def row_of(summary, category, method, level="category"):
    rows = summary[(summary["category"] == category) & (summary["method"] == method) & (summary["level"] == level)]
    assert len(rows) == 1
    return rows.iloc[0]


def values(results, category, method, metric):
    """A trial's values by seed, of those done."""
    rows = results.to_dict("records")
    return {
        r["seed"]: r[metric] for r in rows if (r["category"], r["method"], r["state"]) == (category, method, "done")
    }


def same(found, expected):
    return found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_a_category_is_the_mean_and_deviation_of_its_seeds():
    for category in ("cable", "gear", "weave"):
        for method in ("dfc", "dfr", "fod"):
            row = row_of(SUMMARY, category, method)
            for metric in (*METRICS, *COSTS):
                seeds = list(values(RESULTS, category, method, metric).values())
                assert same(row[metric], mean(seeds) if seeds else math.nan)
                assert same(row[f"{metric}_std"], stdev(seeds) if len(seeds) > 1 else math.nan)
            bad = sum((category, method, seed) in FAILED for seed in (0, 1))
            assert (row["seeds_done"], row["seeds_failed"], row["seeds_missing"]) == (2 - bad, bad, 0)


def test_a_mean_is_over_the_categories_that_all_methods_have_finished():
    for method in ("dfc", "dfr", "fod"):
        row = row_of(SUMMARY, "all", method, "mean")
        assert (row["categories"], row["categories_of"]) == (2, 3)  # weave failed by one method is left out of all
        by_category = [values(RESULTS, category, method, "pixel_ap") for category in ("cable", "gear")]
        assert same(row["pixel_ap"], mean(mean(seeds.values()) for seeds in by_category))
        complete = [seed for seed in (0, 1) if all(seed in seeds for seeds in by_category)]
        assert row["seeds_done"] == len(complete) == (1 if method == "fod" else 2)
        by_seed = [mean(seeds[seed] for seeds in by_category) for seed in complete]
        assert same(row["pixel_ap_std"], stdev(by_seed) if len(by_seed) > 1 else math.nan)
    assert row_of(SUMMARY, "textures", "dfc", "mean")["categories"] == 0  # weave alone is a texture
    assert math.isnan(row_of(SUMMARY, "textures", "dfc", "mean")["image_auroc"])


def test_a_method_without_any_result_does_not_empty_the_means_of_the_others():
    broken = [(category, "fod", seed) for category in ("cable", "gear", "weave") for seed in (0, 1)]
    summary = summarise(made_up_results(failed=broken), PUBLISHED)
    assert row_of(summary, "all", "dfc", "mean")["categories"] == 3
    assert row_of(summary, "all", "fod", "mean")["categories"] == 0
    assert math.isnan(row_of(summary, "all", "fod", "mean")["image_auroc"])


def test_a_metric_that_a_category_does_not_define_has_no_mean():
    results = RESULTS.copy()
    results.loc[results["category"] == "gear", ["pixel_auroc"]] = math.nan
    row = row_of(summarise(results, PUBLISHED), "all", "dfc", "mean")
    assert math.isnan(row["pixel_auroc"]) and math.isnan(row["pixel_auroc_std"]) and not math.isnan(row["image_auroc"])


def test_textures_and_objects_of_mvtec_ad_stand_beside_published_numbers():
    results = made_up_results("mvtec_ad", MVTEC)
    summary = summarise(results, PUBLISHED)
    means = summary[summary["level"] == "mean"]
    assert [(r["category"], r["categories"]) for r in means.to_dict("records") if r["method"] == "dfr"] == [
        ("textures", 5),
        ("objects", 10),
        ("all", 15),
    ]
    row = row_of(summary, "cable", "dfr")
    assert row["pixel_auroc_published"] == 0.92
    assert same(row["pixel_auroc_difference"], mean(values(results, "cable", "dfr", "pixel_auroc").values()) - 0.92)
    assert same(
        row_of(summary, "textures", "dfr", "mean")["pixel_auroc_published"], mean([0.97, 0.98, 0.98, 0.87, 0.93])
    )
    assert row_of(summary, "all", "dfr", "mean")["aupro_0.30_published"] == 0.91  # as the paper states it
    assert row_of(summary, "all", "fod", "mean")["image_auroc_published"] == 0.976
    assert summary.loc[summary["method"] == "dfc", "pixel_auroc_published"].isna().all()


def test_a_mean_of_some_categories_stands_beside_the_published_mean_of_the_same_ones():
    summary = summarise(made_up_results("mvtec_ad", ("bottle", "cable")), PUBLISHED)
    assert same(row_of(summary, "all", "dfr", "mean")["pixel_auroc_published"], mean([0.97, 0.92]))
    assert math.isnan(row_of(summary, "all", "fod", "mean")["image_auroc_published"])  # a mean of 15 is another thing


def test_published_areas_stand_beside_their_like_where_a_benchmark_has_it():
    exact = made_up_results("mvtec_ad", MVTEC)
    both = summarise(exact.assign(aupro_as_published=0.8), PUBLISHED)
    for category, published in (("cable", 0.81), ("all", 0.91)):
        row = row_of(both, category, "dfr", "category" if category == "cable" else "mean")
        assert row["aupro_as_published_published"] == published
        assert row["aupro_as_published_difference"] == pytest.approx(0.8 - published)
        assert (
            row["pixel_auroc_published"]
            == row_of(summarise(exact, PUBLISHED), category, "dfr", row["level"])["pixel_auroc_published"]
        )
    assert "aupro_0.30" in both and "aupro_0.30_published" not in both
    shown = list(compact(both).columns)
    at = shown.index("aupro_as_published")
    assert shown[at + 1 : at + 3] == ["aupro_as_published published", "aupro_as_published difference"]
    assert not [name for name in summarise(exact, PUBLISHED) if "as_published" in name]
    assert label("aupro_as_published") == "AUPRO, papers' approximation"


def test_numbers_of_one_data_set_are_not_another_one_s():
    summary = summarise(pd.concat([RESULTS, made_up_results("mvtec_ad", ("cable",))]), PUBLISHED)
    assert list(summary["dataset"].unique()) == ["demo", "mvtec_ad"]
    assert summary.loc[summary["dataset"] == "demo", "pixel_auroc_published"].isna().all()
    pd.testing.assert_frame_equal(summary[summary["dataset"] == "demo"], SUMMARY)


def test_other_data_sets_have_a_mean_of_all_only():
    summary = summarise(made_up_results("visa", ("candle", "fryum")), PUBLISHED)
    assert list(summary.loc[summary["level"] == "mean", "category"]) == ["all"] * 3
    assert groups("visa", ["b", "a", "b"]) == {"all": ["a", "b"]}
    assert is_whole("visa", "all", ["a"]) and not is_whole("mvtec_ad", "all", KINDS["mvtec_ad"]["objects"])
    assert is_whole("mvtec_ad", "textures", KINDS["mvtec_ad"]["textures"]) and is_whole("mvtec_ad", "all", MVTEC)
    assert in_order("mvtec_ad", ["zipper", "new", "wood", "carpet"]) == ["carpet", "wood", "zipper", "new"]


THREE_SEEDS = made_up_results(seeds=(0, 1, 2), failed=FAILED)


@cache
def summary_in_order():
    return summarise(THREE_SEEDS, PUBLISHED)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(len(THREE_SEEDS))))
def test_the_order_of_the_trials_does_not_matter(order):
    """Not even by the last bit, as sums in another order would."""
    found = summarise(THREE_SEEDS.iloc[order], PUBLISHED)
    pd.testing.assert_frame_equal(found, summary_in_order(), check_exact=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(1, 3))
def test_a_mean_of_equal_categories_is_that_of_one(seeds, copies):
    trials = [
        {
            "dataset": "d",
            "category": f"c{i}",
            "method": "m",
            "seed": s,
            "state": "done",
            "reason": "",
            "image_ap": value,
        }
        for i in range(copies)
        for s, value in enumerate(seeds)
    ]
    row = row_of(summarise(pd.DataFrame(trials), PUBLISHED), "all", "m", "mean")
    assert row["image_ap"] == pytest.approx(mean(seeds), abs=1e-12)
    assert row["image_ap_std"] == pytest.approx(stdev(seeds), abs=1e-12)


def test_missing_trials_count_as_missing():
    results = RESULTS.copy()
    which = (results["category"] == "cable") & (results["seed"] == 1)
    results.loc[which, "state"] = "missing"
    results.loc[which, list(METRICS)] = math.nan
    summary = summarise(results, PUBLISHED)
    assert row_of(summary, "cable", "dfc")["seeds_missing"] == 1
    assert row_of(summary, "all", "dfc", "mean")["seeds_missing"] == 1
    absent = results[~which]  # a trial that is not even in the table is missing too, in a mean
    assert row_of(summarise(absent, PUBLISHED), "all", "dfc", "mean")["seeds_missing"] == 1


def test_the_readable_table():
    table = compact(SUMMARY)
    assert list(table.columns[:4]) == ["category", "method", "seeds", "image_auroc"]
    row = table[(table["category"] == "cable") & (table["method"] == "dfc")].iloc[0]
    seeds = list(values(RESULTS, "cable", "dfc", "image_auroc").values())
    assert row["image_auroc"] == f"{mean(seeds):.3f} ± {stdev(seeds):.3f}" and row["seeds"] == "2"
    single = table[(table["category"] == "gear") & (table["method"] == "fod")].iloc[0]
    assert single["image_auroc"] == f"{values(RESULTS, 'gear', 'fod', 'image_auroc')[0]:.3f}"
    assert single["seeds"] == "1 of 2"
    assert table["category"].iloc[-1] == "all (mean of 2 of 3)"
    assert not [name for name in table if "published" in name]
    assert list(compact(SUMMARY, ["best_iou"]).columns) == ["category", "method", "seeds", "best_iou", *COSTS]


def test_a_mean_over_one_category_is_not_shown_again():
    one = compact(summarise(made_up_results("folder", ["screw"]), published_numbers()))
    assert set(one["category"]) == {"screw"}
    two = compact(summarise(made_up_results("folder", ["screw", "nut"]), published_numbers()))
    assert set(two["category"]) == {"screw", "nut", "all (mean of 2)"}


def test_the_readable_table_has_published_numbers_where_there_are_any():
    both = summarise(pd.concat([RESULTS, made_up_results("mvtec_ad", MVTEC)]), PUBLISHED)
    table = compact(both)
    assert list(table.columns[:2]) == ["dataset", "category"]
    row = table[(table["dataset"] == "mvtec_ad") & (table["category"] == "cable") & (table["method"] == "dfr")].iloc[0]
    ours = both[(both["dataset"] == "mvtec_ad") & (both["category"] == "cable") & (both["method"] == "dfr")].iloc[0]
    assert row["pixel_auroc published"] == "0.920"
    assert row["pixel_auroc difference"] == f"{ours['pixel_auroc'] - 0.92:+.3f}"
    assert table.iloc[0]["pixel_auroc published"] == table.iloc[0]["pixel_auroc difference"] == "-"


def test_results_that_are_not_what_they_should_be_are_refused():
    with pytest.raises(ValueError, match="lack the columns seed"):
        summarise(RESULTS.drop(columns="seed"), PUBLISHED)
    with pytest.raises(ValueError, match="'running'; expected done, failed, missing"):
        summarise(RESULTS.assign(state="running"), PUBLISHED)
    with pytest.raises(ValueError, match="demo, cable, dfc, 0 twice"):
        summarise(pd.concat([RESULTS, RESULTS.head(1)]), PUBLISHED)


def test_no_results_give_a_table_without_rows():
    empty = summarise(RESULTS.head(0), PUBLISHED)
    assert empty.empty and list(empty.columns) == list(SUMMARY.columns)
    assert compact(empty).empty


def test_none_stands_for_not_defined():
    results = RESULTS.astype({"pixel_ap": object})
    results.loc[results["category"] == "cable", "pixel_ap"] = None
    assert np.isnan(row_of(summarise(results, PUBLISHED), "cable", "dfc")["pixel_ap"])
