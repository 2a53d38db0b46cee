"""Tables as text: what is printed reads back as what went in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.figures.tables import markdown_table, text_table

REPORT = pd.DataFrame(
    {
        "defect": ["cut outer insulation", "bent_wire", "all"],
        "images": [8, 1100, 19],
        "image_auroc": [0.98712, 1.0, np.nan],
        "threshold": [12.3456, 1234.5, 0.0001],
        "found": [True, False, True],
    }
)
EXPECTED = [
    ["defect", "images", "image_auroc", "threshold", "found"],
    ["cut outer insulation", "8", "0.987", "12.3", "yes"],
    ["bent_wire", "1100", "1.000", "1234", "no"],
    ["all", "19", "-", "1.00e-04", "yes"],
]


def cells(line):
    """Split a line at gaps of two or more spaces."""
    return [word.strip() for word in line.split("  ") if word.strip()]


def test_text_table_reads_back():
    lines = text_table(REPORT).splitlines()
    assert [cells(line) for line in lines[:1] + lines[2:]] == EXPECTED
    assert set(lines[1]) == {"-", " "}


def test_numbers_end_and_words_start_below_each_other():
    head, rule, *rows = text_table(REPORT).splitlines()
    assert (
        len({line.index(word) for line, word in zip(rows, ["yes", "no", "yes"], strict=True)} | {head.index("found")})
        == 1
    )
    end = head.index("images") + len("images")
    assert [line[:end].split()[-1] for line in rows] == ["8", "1100", "19"]
    assert rule[:end].endswith("-") and rule[end] == " "


def test_a_wide_table_first_breaks_its_names_and_keeps_every_word():
    names = [
        "image_auroc",
        "image_ap",
        "image_f1max",
        "pixel_auroc",
        "pixel_ap",
        "pixel_f1max",
        "aupro_0.30",
        "aupro_0.05",
        "best_iou",
    ]
    frame = pd.DataFrame([{"defect": "cut"} | dict.fromkeys(names, 0.5)])
    text = text_table(frame, width=80)
    *head, rule, row = text.splitlines()
    assert max(map(len, text.splitlines())) <= 80
    starts = [i for i, mark in enumerate(rule) if mark == "-" and (i == 0 or rule[i - 1] == " ")]
    spans = list(zip(starts, [*starts[1:], 999], strict=True))
    joined = ["_".join(line[a:b].strip() for line in head if line[a:b].strip()) for a, b in spans]
    assert joined == ["defect", *names]
    assert cells(row) == ["cut", *["0.500"] * 9]


def test_long_words_are_cut_alike_in_the_middle():
    frame = pd.DataFrame({"a": ["x" * 70], "b": ["y" * 5 + "z" * 65], "score": [1.5]})
    head, _, row = text_table(frame).splitlines()
    first, second, score = cells(row)
    assert len(row) == 99  # the two longest columns share what is left, 45 characters each
    assert len(first) == len(second) and "…" in first
    assert second.startswith("yyyyyz") and second.endswith("z") and score == "1.50"
    assert cells(head) == ["a", "b", "score"]


def test_names_of_numbers_stay_whole_where_words_are_cut():
    frame = pd.DataFrame({"defect": ["x" * 60], "milliseconds": [1.5], "throughput": [2.5], "temperature": [3.5]})
    head, _, row = text_table(frame, width=50).splitlines()
    assert cells(head) == ["defect", "milliseconds", "throughput", "temperature"]
    assert "…" in row and len(row) == 50


def test_too_many_columns_continue_below_under_the_first():
    frame = pd.DataFrame({"name": ["p", "q"]} | {f"column{i}": [i, 10 * i] for i in range(30)})
    blocks = [block.splitlines() for block in text_table(frame).split("\n\n")]
    assert len(blocks) > 1
    seen = []
    for head, _, *rows in blocks:
        names, first, second = cells(head), cells(rows[0]), cells(rows[1])
        assert (names[0], first[0], second[0]) == ("name", "p", "q")
        seen += list(zip(names[1:], first[1:], second[1:], strict=True))
    assert seen == [(f"column{i}", str(i), str(10 * i)) for i in range(30)]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="…"), max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(WORDS, st.floats(allow_nan=True), st.integers(), st.booleans()), max_size=4),
    st.integers(1, 5),
    st.integers(40, 120),
)
def test_no_line_is_too_long(rows, copies, width):
    names = ["some words", "a_number", "count", "yes or no"]
    frame = pd.concat([pd.DataFrame(rows, columns=names)] * copies, axis=1)
    for line in text_table(frame, width=width).splitlines():
        assert len(line) <= width


def test_only_a_named_index_is_shown():
    assert text_table(REPORT.set_index("defect")) == text_table(REPORT)
    assert text_table(REPORT.set_index(pd.Index([7, 8, 9]))) == text_table(REPORT)


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ([0.5, 0.0004], ["0.500", "0.000"]),  # metrics: three decimals
        ([0.002, 0.0004], ["0.002", "4.00e-04"]),  # all tiny: three digits
        ([0.5, 1.25], ["0.500", "1.25"]),
        ([None, "a  b\nc|d"], ["-", "a b c|d"]),
        ([pd.NaT, ""], ["-", "-"]),
        (pd.array([1, None], dtype="Int64"), ["1", "-"]),
        (pd.array([True, None], dtype="boolean"), ["yes", "-"]),
        (np.array([True, False]), ["yes", "no"]),
    ],
)
def test_cells(values, printed):
    lines = text_table(pd.DataFrame({"x": values})).splitlines()
    assert [line.strip() for line in lines[2:]] == printed


def test_markdown_table_reads_back():
    frame = REPORT.assign(defect=["a|b", "bent_wire", "all"])
    lines = markdown_table(frame).splitlines()
    rows = [[word.strip() for word in line.replace(r"\|", "¦")[1:-1].split("|")] for line in lines]
    assert rows[0] == EXPECTED[0]
    assert rows[1] == ["---", "---:", "---:", "---:", "---"]
    assert rows[2:] == [["a¦b", *EXPECTED[1][1:]], *EXPECTED[2:]]


def test_tables_without_rows_or_columns():
    assert text_table(pd.DataFrame()) == markdown_table(pd.DataFrame()) == ""
    assert text_table(pd.DataFrame(columns=["a", "b"])) == "a  b\n-  -"
    assert markdown_table(pd.DataFrame(columns=["a", "b"])) == "| a | b |\n| --- | --- |"


def test_a_width_that_holds_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 40"):
        text_table(REPORT, width=39)
