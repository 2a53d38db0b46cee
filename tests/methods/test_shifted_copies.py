"""Shifted copies of images, against NumPy's own padding."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.methods.shifted_copies import MOST_COPIES, shifted_copies


def numbered(count, height, width):
    return np.arange(count * 3 * height * width).reshape(count, 3, height, width).astype(np.uint8)


@given(
    count=st.integers(1, 9),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    most=st.integers(0, 14),
    seed=st.integers(0, 2**40),
    at_once=st.integers(1, 10),
)
@settings(deadline=None)
def test_each_copy_is_a_window_of_the_reflected_image(count, height, width, most, seed, at_once):
    images = numbered(count, height, width)
    copies = list(shifted_copies(np.concatenate([images, images]), count, most, seed=seed, at_once=at_once))
    assert [len(part) for part in copies] == [min(at_once, count - start) for start in range(0, count, at_once)]
    most = min(most, height - 1, width - 1)
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    for copy, places in zip(np.concatenate(copies), windows, strict=True):
        assert copy.dtype == np.uint8
        assert (places.transpose(1, 2, 0, 3, 4) == copy).all((2, 3, 4)).any()


def test_shifts_differ_from_image_to_image_and_reach_both_sides():
    image = numbered(1, 24, 24)
    copies = np.concatenate(list(shifted_copies(np.repeat(image, 60, 0), 60, 2, seed=0, at_once=16)))
    padded = np.pad(image[0], ((0, 0), (2, 2), (2, 2)), mode="reflect")
    found = {
        (down, right)
        for copy in copies
        for down in range(5)
        for right in range(5)
        if (padded[:, down : down + 24, right : right + 24] == copy).all()
    }
    assert len(found) > 15 and {0, 4} <= {down for down, _ in found} and {0, 4} <= {right for _, right in found}


def test_of_many_images_some_are_taken_evenly():
    images = np.arange(5 * MOST_COPIES, dtype=np.float32)[:, None, None, None].repeat(8, 2).repeat(8, 3)
    taken = np.concatenate(list(shifted_copies(images, len(images), 1, seed=0, at_once=32)))[:, 0, 0, 0]
    assert len(taken) == MOST_COPIES and taken[0] == 0 and taken[-1] == 5 * MOST_COPIES - 1
    assert set(np.diff(taken)) <= {4, 5, 6}
