"""The nearest hash is the nearest, and a pair has to correlate."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.data import duplicates
from discrepancy.data.duplicates import Pair, correlation, near_duplicates, nearest

WORDS = st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 4), min_size=1, max_size=12)


@settings(deadline=None)
@given(WORDS, WORDS, st.integers(1, 400))
def test_nearest_is_that_of_all_pairs_counted_one_by_one(tests, others, block):
    hashes, among = np.array(tests, np.uint64), np.array(others, np.uint64)
    old, duplicates._BLOCK_BYTES = duplicates._BLOCK_BYTES, block
    try:
        rows, distances = nearest(hashes, among)
    finally:
        duplicates._BLOCK_BYTES = old
    for one, row, distance in zip(tests, rows, distances, strict=True):
        naive = [sum((a ^ b).bit_count() for a, b in zip(one, two, strict=True)) for two in others]
        assert distance == min(naive) and row == naive.index(min(naive))


def test_candidates_have_to_correlate_beyond_the_mean_image():
    rng = np.random.default_rng(0)
    mean = rng.uniform(50, 200, (64, 64))  # what all parts share is no sign of a copy
    photographs = np.clip(mean + rng.normal(0, 12, (3, 64, 64)), 0, 255).astype(np.uint8)
    copy = np.clip(photographs[1] + rng.normal(0, 2, (64, 64)), 0, 255).astype(np.uint8)
    tests = [photographs[0], copy, copy]
    hashes = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [2**64 - 1] * 4], np.uint64)  # the third is no candidate
    found = near_duplicates(hashes, np.zeros((1, 4), np.uint64), mean, lambda test, _: (tests[test], photographs[1]))
    assert [pair[:2] for pair in found] == [(1, 0)] and found[0].correlation > 0.95
    assert correlation(photographs[0], photographs[1]) > 0.9  # it would be a false alarm


def test_no_photographs_no_pairs():
    none = np.zeros((0, 4), np.uint64)
    assert near_duplicates(none, none, np.zeros((2, 2)), lambda *_: None) == []
    assert isinstance(Pair(0, 1, 0.9), tuple) and correlation(np.ones((2, 2)), np.arange(4).reshape(2, 2)) == 0
