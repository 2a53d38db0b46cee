"""The data digest and the way files are named."""

import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.data.samples import data_digest, join_first

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
ROWS = st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["train", "test"]), st.integers(0, 1)), max_size=6)
COLUMNS = ["image", "sha256", "split", "label"]


def table(rows):
    return pd.DataFrame(rows, columns=COLUMNS).assign(mask="", width=3)


@settings(max_examples=50, deadline=None)
@given(ROWS, ROWS)
def test_digest_is_that_of_the_rows_whatever_their_order(one, other):
    assert (data_digest(table(one)) == data_digest(table(other))) == (sorted(one) == sorted(other))


@settings(max_examples=50, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_digest_does_not_depend_on_order(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert data_digest(table(rows)) == data_digest(table(shuffled)[[*reversed(COLUMNS)]])


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_counts(column):
    rows = table([("a.png", "00", "train", 0), ("b.png", "01", "test", 1)])
    changed = rows.assign(**{column: rows[column].iloc[::-1].to_numpy()})
    assert data_digest(changed) != data_digest(rows)
    assert data_digest(rows.assign(mask="m", width=4)) == data_digest(rows)
    assert data_digest(rows, columns=["image"]) != data_digest(rows)


def test_digest_survives_storage():
    rows = table([("über 1.png", "00ff", "train", 0), ("b,\n.png", "01", "test", 1)])
    stored = pd.read_csv(io.StringIO(rows.to_csv(index=False)), dtype={"sha256": str}, keep_default_na=False)
    assert data_digest(stored) == data_digest(rows)


def test_digest_is_pinned():
    """A card written today must compare equal to one written by a later version."""
    rows = table([("part/train/good/0.png", "00ff", "train", 0)])
    assert data_digest(rows) == "06f606946fbc86acbfb517be6928faf0be2210863d8a2a50e092466df4465873"


def test_some_are_named_and_the_others_counted():
    assert join_first([]) == ""
    assert join_first("abc") == "a, b, c"
    assert join_first("abcde") == "a, b, c and 2 more"
    assert join_first("abcde", most=4) == "a, b, c, d and 1 more"
