"""Pieces come in order, are filled ahead by one, and stop at the first error."""

import threading
import time
import weakref

import numpy as np
import pytest

from discrepancy.data import lazy_array
from discrepancy.data.lazy_array import LazyArray, computed_chunks

INT = np.dtype(np.int64)


def write(item, row):
    row[:] = item


def pieces(fill, items, **options):
    return computed_chunks(fill, items, shape=(2,), dtype=INT, **options)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 12, 13])
def test_rows_keep_their_order_whichever_thread_is_first(count):
    delays = np.random.default_rng(count).uniform(0, 0.003, count)

    def fill(item, row):
        time.sleep(delays[item])
        row[:] = item

    found = list(pieces(fill, range(count), workers=4, chunk=4))
    assert [len(piece) for piece in found] == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 2)), *found])[:, 1], np.arange(count))
    assert all(piece.dtype == INT for piece in found)


def test_one_piece_is_filled_ahead_and_no_more():
    filled, ahead = [], threading.Event()

    def fill(item, row):
        filled.append(item)
        if item == 3:
            ahead.set()

    stream = pieces(fill, range(20), workers=1, chunk=2)
    next(stream)
    assert ahead.wait(5), "the next piece is filled while the caller has the first"
    time.sleep(0.05)
    assert max(filled) == 3
    stream.close()


def test_threads_go_on_to_the_next_piece_while_one_is_unfinished():
    begun = threading.Event()

    def fill(item, row):
        row[:] = begun.wait(5) if item == 1 else True
        if item == 2:
            begun.set()

    assert next(pieces(fill, range(4), workers=2, chunk=2)).all()


def test_a_piece_lives_as_long_as_the_caller_wants():
    stream = pieces(write, range(4), workers=1, chunk=2)
    alive = weakref.ref(next(stream))
    assert alive() is None
    stream.close()


def test_pieces_are_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(lazy_array, "MAX_CHUNK_BYTES", 3 * 2 * 8 + 1)
    assert [len(piece) for piece in pieces(write, range(8))] == [3, 3, 2]
    monkeypatch.setattr(lazy_array, "MAX_CHUNK_BYTES", 1)
    assert [len(piece) for piece in pieces(write, range(2))] == [1, 1]


def test_the_first_error_in_order_is_raised_and_the_rest_cancelled():
    filled = []

    def fill(item, row):
        filled.append(item)
        if item == 2:
            time.sleep(0.05)
        elif item > 3:
            time.sleep(0.005)
        if item in {2, 3}:
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 2"):
        list(pieces(fill, range(400), workers=2, chunk=200))
    assert len(filled) < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_caller_who_stops_early_leaves_no_threads():
    stream = pieces(write, range(50), chunk=5)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_chunked_array_is_written_whole_and_again():
    rows = np.arange(10).reshape(5, 2)
    array = LazyArray((5, 2), INT, lambda: iter([rows[:3], rows[3:]]))
    np.testing.assert_array_equal(array.to_numpy(), rows)
    assert [len(piece) for piece in array.pieces()] == [3, 2] and array.fingerprint is None
    target = np.full((5, 2), -1)
    array.fill(target)
    np.testing.assert_array_equal(target, rows)


@pytest.mark.parametrize(
    "wrong",
    [
        [np.zeros((4, 2), INT)],
        [np.zeros((6, 2), INT)],
        [np.zeros((5, 3), INT)],
        [np.zeros((5, 1), INT)],
        [np.zeros((5, 2), np.int32)],
        [],
    ],
    ids=["too few", "too many", "too wide", "would broadcast", "other type", "none"],
)
def test_pieces_that_do_not_fit_are_an_error(wrong):
    array = LazyArray((5, 2), INT, lambda: iter(wrong))
    with pytest.raises(ValueError, match="piece"):
        array.to_numpy()
    with pytest.raises(ValueError, match="piece"):
        list(array.pieces())


def test_a_piece_that_does_not_fit_is_not_given_out():
    array = LazyArray((5, 2), INT, lambda: iter([np.zeros((3, 2), INT), np.zeros((3, 2), INT)]))
    stream = array.pieces()
    assert len(next(stream)) == 3
    with pytest.raises(ValueError, match="at row 3"):
        next(stream)


def test_pieces_end_with_whoever_takes_them():
    array = LazyArray((50, 2), INT, lambda: pieces(write, range(50), chunk=5))
    stream = array.pieces()
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("target", [np.zeros((6, 2), INT), np.zeros((5, 2), np.int32)])
def test_a_target_that_does_not_fit_is_an_error(target):
    with pytest.raises(ValueError, match="target is"):
        LazyArray((5, 2), INT, lambda: iter([np.zeros((5, 2), INT)])).fill(target)
