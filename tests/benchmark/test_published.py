"""Published numbers: they come with the package, name their source, and only one is set against ours."""

import csv
from importlib.resources import files
from statistics import mean

import pandas as pd
import pytest

from discrepancy.benchmark.groups import KINDS
from discrepancy.benchmark.published import COMPARED, published_numbers, to_compare
from discrepancy.benchmark.tables import METRICS

NUMBERS = published_numbers()


def test_every_number_has_a_place_a_value_and_a_source():
    with files("discrepancy.benchmark").joinpath("published.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NUMBERS) > 100
    for row in rows:
        assert all(row.values()) and 0 < float(row["value"]) <= 1 and row["compared"] in {"yes", "no"}
        assert row["metric"] in METRICS and row["method"] in {"dfc", "dfr", "fod"}
        assert row["category"] in {"all", *KINDS["mvtec_ad"]["textures"], *KINDS["mvtec_ad"]["objects"]}
    assert len({tuple(row[k] for k in ("dataset", "category", "method", "metric", "variant")) for row in rows}) == len(
        rows
    )


@pytest.mark.parametrize(
    ("category", "method", "metric", "value"),
    [
        ("cable", "dfr", "pixel_auroc", 0.92),  # of 16 layers, not the 0.88 of 12
        ("cable", "dfr", "aupro_0.30", 0.81),
        ("cable", "dfr", "image_auroc", 0.79873),  # of the independent run: the paper has none
        ("all", "dfr", "pixel_auroc", 0.95),
        ("all", "fod", "image_auroc", 0.976),
        ("all", "fod", "pixel_auroc", 0.983),
    ],
)
def test_one_variant_is_set_against_ours(category, method, metric, value):
    assert to_compare(NUMBERS)["mvtec_ad", category, method, metric] == value


def test_what_no_source_gives_is_absent():
    chosen = to_compare(NUMBERS)
    assert {metric for *_, metric in chosen} == set(COMPARED)
    assert not {key for key in chosen if key[2] == "dfc" or (key[2] == "fod" and key[1] != "all")}


@pytest.mark.parametrize("variant", sorted(set(NUMBERS.loc[NUMBERS["method"] == "dfr", "variant"])))
def test_means_agree_with_their_categories(variant):
    rows = NUMBERS[(NUMBERS["method"] == "dfr") & (NUMBERS["variant"] == variant)]
    for metric, part in rows.groupby("metric"):
        single = part.loc[part["category"] != "all", "value"]
        digits = 2 if "paper" in variant else 5
        assert len(single) == 15
        # The paper's mean of 12 layers' PRO is of unrounded values.
        assert part.loc[part["category"] == "all", "value"].item() == pytest.approx(mean(single), abs=10**-digits), (
            metric
        )


def test_each_variant_has_one_backbone():
    backbones = NUMBERS.groupby(["method", "variant"])["backbone"].unique().map(list).to_dict()
    assert backbones == {
        ("dfr", "paper f1:12"): ["vgg19"],
        ("dfr", "paper f1:16"): ["vgg19"],
        ("dfr", "reproduction f1:12"): ["vgg19"],
        ("fod", "independent run"): ["wide_resnet50_2"],
        ("fod", "independent run, another batch size"): ["wide_resnet50_2"],
        ("fod", "paper"): ["tf_efficientnet_b6"],  # so it is not set against ours, which is of the program's network
    }


def test_two_values_for_one_place_are_refused():
    twice = pd.concat([NUMBERS, NUMBERS[NUMBERS["compared"]].head(1)])
    with pytest.raises(ValueError, match="mvtec_ad, carpet, dfr, pixel_auroc"):
        to_compare(twice)
