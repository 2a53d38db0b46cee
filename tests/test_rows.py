"""Rows of an array in an order of their own are what NumPy's indexing gives, and only they are read."""

import numpy as np
import pytest

from discrepancy.rows import Rows

ORDER = np.array([4, 0, 0, 3])


@pytest.fixture(params=["in memory", "on disk"])
def array(request, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 2, 3), dtype=np.uint8)
    if request.param == "in memory":
        return values
    np.save(tmp_path / "a.npy", values)
    return np.load(tmp_path / "a.npy", mmap_mode="r")


def test_a_view_describes_itself_like_its_copy(array):
    rows, copy = Rows(array, ORDER), array[ORDER]
    assert (len(rows), rows.shape, rows.ndim, rows.dtype, rows.nbytes) == (4, copy.shape, 3, np.uint8, copy.nbytes)
    nothing = Rows(array, ORDER[:0])
    assert (len(nothing), nothing.shape, nothing.nbytes) == (0, (0, 2, 3), 0)


@pytest.mark.parametrize(
    "part",
    [
        slice(1, 3),
        slice(None),
        slice(-2, None),
        slice(None, None, -1),
        slice(9, 12),
        2,
        np.array([True, False, True, False]),
        (slice(1, 3), 0),
        (3, slice(None), 1),
        ([0, 2], slice(None, None, -1)),
    ],
    ids=str,
)
def test_any_index_gives_what_it_gives_of_a_copy(array, part):
    found = Rows(array, ORDER)[part]
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, array[ORDER][part])


@pytest.mark.parametrize("rows", [[2, 0, 2], [-1], [], np.array([3, 1]), range(2)])
def test_a_list_gives_the_values_themselves(array, rows):
    found = Rows(array, ORDER)[rows]
    assert type(found) is np.ndarray and found.dtype == np.uint8
    np.testing.assert_array_equal(found, array[ORDER][np.asarray(rows, int)])
    with pytest.raises(IndexError, match="out of bounds"):
        Rows(array, ORDER)[[len(ORDER)]]


def test_as_an_array_it_is_a_copy(array):
    rows = Rows(array, ORDER)
    copy = np.asarray(rows)
    np.testing.assert_array_equal(copy, array[ORDER])
    assert not np.shares_memory(copy, array)
    assert np.asarray(rows, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([rows, rows[1:2]]), array[[*ORDER, 0]])


def test_only_what_is_asked_for_is_read():
    asked = []

    class Watched(np.ndarray):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    rows = Rows(np.arange(40).reshape(20, 2).view(Watched), np.arange(20)[::-1])
    assert len(rows) == 20 and rows.shape == (20, 2) and asked == []
    rows[3:5]
    rows[[0, 2]]
    assert [list(index) for index in asked] == [[16, 15], [19, 17]]
