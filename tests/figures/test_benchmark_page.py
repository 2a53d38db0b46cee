"""The benchmark's page holds every number it was given, in both themes legible, and nothing can become markup."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from discrepancy.benchmark.comparison import compare, rank_methods
from discrepancy.benchmark.published import published_numbers
from discrepancy.benchmark.tables import summarise
from discrepancy.figures import heat_map as heat
from discrepancy.figures.benchmark_page import benchmark_page
from discrepancy.figures.comparison import comparison_part
from discrepancy.figures.rank_plot import rank_plot
from tests.made_up_results import MVTEC, made_up_results

VOID = {"meta", "img", "br", "line", "circle"}
PUBLISHED = published_numbers()


class Reader(HTMLParser):
    """Elements in order: tag, attributes, text inside; complains of one that is not closed."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), [], tuple(t for t, *_ in self.open)))
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for element in self.open:
            element[2].append(data)

    def all(self, tag, kind=None):
        """Attributes and text of each element of a tag, with the class if one is given."""
        return [
            (attrs, "".join(text))
            for name, attrs, text, _ in self.elements
            if name == tag and (kind is None or kind in (attrs.get("class") or "").split())
        ]


def page_of(results, galleries=None, **more):
    summary = summarise(results, PUBLISHED)
    paths = {} if galleries is None else galleries
    return benchmark_page(results, summary, compare(results), paths, ranks=rank_methods(results), **more)


def table_of(page):
    """The table of all numbers."""
    return Reader(re.search(r'<table class="results">.*?</table>', page, re.DOTALL)[0])


RESULTS = made_up_results(failed=[("gear", "fod", 0), ("gear", "fod", 1)])
GALLERIES = {(m, "demo", c): f"../{m}/{c}/gallery.png" for m in ("dfc", "dfr", "fod") for c in ("cable", "weave")}
PAGE = page_of(RESULTS, GALLERIES)
READ = Reader(PAGE)


def test_it_says_what_was_run():
    words = READ.all("p")[0][1]
    assert words == (
        "dfc, dfr, fod on 3 categories of demo (synthetic images), 2 seeds: 18 runs, 16 done, 2 failed, 0 missing."
    )
    other = Reader(page_of(made_up_results("visa", ("candle",), seeds=(0,)), title="A title"))
    assert "synthetic" not in other.all("p")[0][1] and "1 category of visa, 1 seed: 3 runs" in other.all("p")[0][1]
    assert other.all("h1")[0][1] == "A title"


def test_the_table_has_every_number_exactly():
    summary = summarise(RESULTS, PUBLISHED)
    heads = [attrs["title"] for attrs, _ in table_of(PAGE).all("th", "number")]
    cells = iter(table_of(PAGE).all("td", "number"))
    for row in summary.to_dict("records"):
        for name in heads:
            attrs, text = next(cells)
            if math.isnan(row[name]):
                assert "data-value" not in attrs and text == "–"
            else:
                assert float(attrs["data-value"]) == row[name]
                if name == "image_auroc":
                    assert text == f"{row[name]:.3f} ± {row['image_auroc_std']:.3f}"
    assert next(cells, None) is None
    assert {"image_auroc", "aupro_0.05", "false_alarm_rate", "train_seconds", "peak_memory_mib"} <= set(heads)


def test_published_numbers_have_columns_only_where_there_are_any():
    assert "published" not in [text for _, text in table_of(PAGE).all("th", "number")]
    page = page_of(made_up_results("mvtec_ad", MVTEC), published=PUBLISHED)
    heads = [attrs["title"] for attrs, _ in table_of(page).all("th", "number")]
    for name in ("image_auroc", "pixel_auroc", "aupro_0.30"):
        at = heads.index(name)
        assert heads[at + 1 : at + 3] == [f"{name}_published", f"{name}_difference"]
    lines = {text for _, text in Reader(page).all("li")}
    assert any(
        line.startswith("dfr on mvtec_ad, paper f1:16: pixel AUROC 0.950, AUPRO at 0.30 0.910. ") for line in lines
    )
    assert any("paper: image AUROC 0.992. derived from github.com/xcyao00/FOD" in line for line in lines)
    section = next(text for _, text in Reader(page).all("section") if text.strip().startswith("Published"))
    bold = [
        text for _, text in Reader(page[page.index("Published numbers</h2>") - 4 : page.rindex("</section>")]).all("b")
    ]
    assert len(bold) == 5 and "image AUROC 0.976" in bold and "pixel AUROC 0.940" not in bold
    assert "dfc" not in section and "Published numbers" not in PAGE


def test_the_heat_map_shows_each_metric_in_a_colour_by_its_value():
    summary = summarise(RESULTS, PUBLISHED)
    read = Reader(heat.heat_map(summary, "best_iou", {("demo", "cable"): "#here"}))
    low, high = summary["best_iou"].min(), summary["best_iou"].max()
    cells = {attrs["title"]: (attrs, text) for attrs, text in read.all("td") if "title" in attrs}
    for row in summary.to_dict("records"):
        if math.isnan(row["best_iou"]):
            continue
        title = f"{row['method']}, {row['category']}: {row['best_iou']:.3f} ± {row['best_iou_std']:.3f}"
        attrs, text = cells[title]
        step = round((row["best_iou"] - low) / (high - low) * 15)
        assert text == f"{row['best_iou']:.3f}" and f"level-{step}" in attrs["class"].split()
        assert attrs.get("data-link") == ("#here" if row["category"] == "cable" else None)
    assert [text for _, text in read.all("td", "none")] == ["failed"]
    assert [attrs["href"] for attrs, _ in read.all("a")] == ["#here"]
    assert "1 of 2" in read.all("thead")[0][1]  # the mean of objects is over one of the two


@pytest.mark.parametrize(("metric", "choose"), [("image_auroc", max), ("false_alarm_rate", min)])
def test_the_best_of_each_category_is_marked(metric, choose):
    summary = summarise(made_up_results(), PUBLISHED)
    marked = {attrs["title"] for attrs, _ in Reader(heat.heat_map(summary, metric, {})).all("td", "best")}
    expected = set()
    for category in ("cable", "gear", "weave", "textures", "objects", "all"):
        rows = summary[summary["category"] == category]
        target = choose(round(value, 3) for value in rows[metric])
        expected |= {f"{m}, {category}" for m in rows.loc[rows[metric].round(3) == target, "method"]}
    assert {title.partition(":")[0] for title in marked} == expected


def contrast(one, other):
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05)."""

    def luminance(colour):
        colour = "#" + "".join(2 * c for c in colour[1:]) if len(colour) == 4 else colour
        linear = []
        for i in (1, 3, 5):
            c = int(colour[i : i + 2], 16) / 255
            linear.append(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_numbers_are_legible_on_every_colour_and_colours_run_one_way():
    rules = re.findall(r"\.level-(\d+) \{ background: (#\w+); color: (#\w+) \}", heat.colour_style())
    assert [int(i) for i, *_ in rules] == 2 * list(range(heat.LEVELS))
    assert min(contrast(background, words) for _, background, words in rules) >= 4.5
    for theme, sign in ((rules[: heat.LEVELS], 1), (rules[heat.LEVELS :], -1)):
        against_white = [contrast(background, "#ffffff") for _, background, _ in theme]
        assert all(np.diff(against_white) * sign > 0)
    assert [heat.level(v, 0.5, 1.0) for v in (0.5, 0.75, 1.0)] == [0, 8, 15] and heat.level(1, 1, 1) == 15


def test_each_category_has_its_galleries_side_by_side():
    parts = READ.all("details", "part")
    assert [attrs["id"] for attrs, _ in parts] == ["category-0", "category-1", "category-2"]
    assert all("open" in attrs for attrs, _ in parts)  # without the script nothing is hidden
    assert [text.split()[0] for _, text in parts] == ["weave", "cable", "gear"]
    pictures = [attrs["src"] for attrs, _ in READ.all("img")]
    assert pictures == [f"../{m}/{c}/gallery.png" for c in ("weave", "cable") for m in ("dfc", "dfr", "fod")]
    assert {attrs["loading"] for attrs, _ in READ.all("img")} == {"lazy"}
    assert [text for _, text in READ.all("p", "empty")] == ["no gallery", "no gallery", "failed"]


def test_links_lead_to_parts_that_exist():
    ids = {attrs["id"] for _, attrs, *_ in READ.elements if "id" in attrs}
    links = [attrs["href"] for attrs, _ in READ.all("a") if attrs["href"].startswith("#")]
    assert len(links) > 9 and {link[1:] for link in links} <= ids


def test_runs_without_a_result_have_their_reason():
    lines = [text for _, text in READ.all("li")]
    assert "fod on gear, seeds 0, 1 failed: the loss is not finite in epoch 3" in lines
    assert "Runs without a result" not in page_of(made_up_results())


def test_the_comparison_is_in_words_and_numbers():
    lines = [text for _, text in READ.all("li")]
    assert any(line.startswith("image AUROC") and "2 categories are too few" in line for line in lines)
    assert not READ.all("svg")
    read = Reader(page_of(made_up_results("mvtec_ad", MVTEC)))
    lines = [text for _, text in read.all("li")]
    assert any("dfc is higher than fod" in line for line in lines)
    assert len(read.all("svg", "ranks")) == 3 and "mean ranks by pixel AUROC" in read.all("svg")[1][0]["aria-label"]
    assert "nothing to compare" in page_of(made_up_results(methods=("dfr",)))


def test_ranks_that_friedman_does_not_tell_apart_are_not_said_to_differ():
    names = ["a", "b", "c"]
    rows = [{"dataset": "d", "metric": "image_auroc", "method": name, "mean_rank": 23 / 15 + 13 / 15 * i / 2,
             "categories": 15, "critical_difference": 0.856, "note": ""} for i, name in enumerate(names)]  # fmt: skip
    pairs = compare(made_up_results("mvtec_ad", MVTEC))
    for p, shown in ((0.057, True), (0.05, False)):
        text = comparison_part(pairs, pd.DataFrame(rows).assign(friedman_p=p))
        assert ("no difference shown" in text.partition("<details")[0]) == shown


def test_notes_are_words_not_markup():
    table = compare(made_up_results()).assign(note="<b>dfc</b> & dfr")
    read = Reader(comparison_part(table))
    assert read.all("li")[0][1].endswith(": <b>dfc</b> & dfr")


@settings(deadline=None)
@given(st.lists(st.floats(1, 4), min_size=2, max_size=4), st.floats(0.05, 0.35))
def test_bars_overlap_where_ranks_are_closer_than_the_critical_difference(ranks, difference):
    ranks = [min(rank, len(ranks)) for rank in ranks]
    svg = rank_plot([f"m{i}" for i in range(len(ranks))], ranks, difference, words="ranks")
    bars = [(float(a), float(b)) for a, b in re.findall(r'class="bar" x1="([\d.]+)%" x2="([\d.]+)%"', svg)]
    width = 74 / (len(ranks) - 0.6)  # percent per rank
    for i, one in enumerate(bars):
        for j, other in enumerate(bars):
            if abs(abs(ranks[i] - ranks[j]) - difference) * width > 0.05:
                assert (max(one[0], other[0]) < min(one[1], other[1])) == (abs(ranks[i] - ranks[j]) < difference)


def test_nothing_is_fetched():
    for page in (PAGE, page_of(made_up_results("mvtec_ad", MVTEC), published=PUBLISHED)):
        assert "http" not in page and "@import" not in page and "url(" not in page
        assert not [attrs for attrs, _ in Reader(page).all("script") if "src" in attrs]
        assert not Reader(page).all("link")


NASTY = st.text(st.sampled_from("<>&\"'`/\\ aé漢\u202e#%?[]{}\n"), min_size=1, max_size=8).map(lambda s: f"x{s}x")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NASTY, NASTY, NASTY, NASTY, NASTY)
def test_no_name_can_become_markup(dataset, category, method, reason, path):
    results = made_up_results(dataset, (category,), (method, "dfr"), failed=[(category, "dfr", 0)])
    results.loc[results["state"] == "failed", "reason"] = reason
    read = Reader(page_of(results, {(method, dataset, category): path}, title=f"{category}{method}"))
    plain = made_up_results("d", ("c",), ("m", "dfr"), failed=[("c", "dfr", 0)])
    other = Reader(page_of(plain, {("m", "d", "c"): "p"}, title="t"))
    tags = [(tag, sorted(attrs)) for tag, attrs, *_ in read.elements]
    assert sorted(tags) == sorted((tag, sorted(attrs)) for tag, attrs, *_ in other.elements)
    assert category + method == read.all("title")[0][1]
    assert any(text.endswith(f"failed: {reason}") for _, text in read.all("li"))
    assert category in [text for _, text in read.all("th", "category")]
    assert len(read.all("img")) == 1 and not set(read.all("img")[0][0]["src"]) & set("<>\"'`\\ #?")


def test_several_data_sets_on_one_page():
    read = Reader(page_of(pd.concat([RESULTS, made_up_results("mvtec_ad", ("cable",))], ignore_index=True)))
    headings = [text for _, text in read.all("h3")]
    assert {"demo (synthetic images)", "mvtec_ad", "demo/cable (synthetic images)", "mvtec_ad/cable"} <= set(headings)
    assert "data set" in [text for _, text in read.all("th", "word")]
    ids = [attrs["id"] for attrs, _ in read.all("details", "part")]
    assert len(ids) == len(set(ids)) == 4


def test_a_benchmark_without_any_result_is_a_page_too():
    failed = [(c, m, s) for c in ("cable", "gear") for m in ("dfc", "dfr") for s in (0, 1)]
    read = Reader(page_of(made_up_results(categories=("cable", "gear"), methods=("dfc", "dfr"), failed=failed)))
    assert "0 done, 8 failed" in read.all("p")[0][1] and "no run has a result" in [text for _, text in read.all("p")]
