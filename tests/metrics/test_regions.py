import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from discrepancy.errors import InputError
from discrepancy.metrics import region_metrics
from tests.metrics.traced_peak import traced_peak

EIGHT = np.ones((3, 3))


def naive(found, masks, labels):
    """One loop over all images and regions, by scipy."""
    hits, false = [], []
    for area, mask, label in zip(found, masks, labels, strict=True):
        marked, count = ndimage.label(mask, EIGHT)
        hits += [any(area[y, x] for y, x in np.argwhere(marked == number)) for number in range(1, count + 1)]
        if not label:
            false.append(ndimage.label(area, EIGHT)[1])
    return {
        "region_recall": np.mean(hits) if hits else math.nan,
        "false_regions_per_good_image": np.mean(false) if false else math.nan,
        "outlined_good_share": np.mean([number > 0 for number in false]) if false else math.nan,
    }


@st.composite
def images(draw):
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))
    found, masks = draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))
    labels = draw(hnp.arrays(np.bool_, shape[0]))
    masks[~labels] = False
    return found, masks, labels


@settings(max_examples=200, deadline=None)
@given(images())
def test_equals_the_loop_over_regions(case):
    assert region_metrics(*case) == pytest.approx(naive(*case), nan_ok=True)


def test_equals_the_loop_on_larger_images():
    rng = np.random.default_rng(0)
    labels = np.arange(12) < 8
    found = ndimage.gaussian_filter(rng.standard_normal((12, 60, 80)), (0, 3, 3)) > 0.12
    masks = ndimage.gaussian_filter(rng.standard_normal((12, 60, 80)), (0, 2, 2)) > 0.25
    masks[~labels] = False
    found[-1] = False
    expected = naive(found, masks, labels)
    assert 0.1 < expected["region_recall"] < 0.9 and expected["outlined_good_share"] == 0.75
    assert region_metrics(found, masks, labels) == pytest.approx(expected)


def test_touching_corners_are_one_region():
    masks, found = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    masks[0, [0, 1, 3], [0, 1, 3]] = True  # two regions
    found[0, 0, 0] = True
    found[1, [0, 1, 3], [3, 2, 3]] = True
    assert region_metrics(found, masks, [1, 0]) == {
        "region_recall": 0.5, "false_regions_per_good_image": 2.0, "outlined_good_share": 1.0
    }  # fmt: skip


def test_what_is_outlined_beside_a_mark_finds_nothing_and_is_no_false_region():
    masks, found = np.zeros((2, 5, 5), bool), np.zeros((2, 5, 5), bool)
    masks[0, 2, 2] = True
    found[0, 2, 3] = True
    found[1, 0, 0] = True  # a defective image whose mask is empty: neither
    values = region_metrics(found, masks, [1, 1])
    assert values["region_recall"] == 0.0
    assert math.isnan(values["false_regions_per_good_image"]) and math.isnan(values["outlined_good_share"])


def test_no_marks_have_no_recall():
    values = region_metrics(np.zeros((2, 3, 3), bool), np.zeros((2, 3, 3), bool), [0, 1])
    assert math.isnan(values["region_recall"])
    assert values["false_regions_per_good_image"] == values["outlined_good_share"] == 0.0


def test_images_may_come_one_by_one_and_in_any_layout():
    rng = np.random.default_rng(1)
    found, masks = rng.random((5, 9, 11)) < 0.2, rng.random((5, 9, 11)) < 0.2
    labels = np.array([1, 0, 1, 0, 1])
    masks[labels == 0] = False
    expected = region_metrics(found, masks, labels)
    assert region_metrics(iter(found), (mask for mask in masks), labels) == expected
    turned = region_metrics(found.transpose(0, 2, 1), masks.transpose(0, 2, 1), labels)
    assert turned == expected == pytest.approx(naive(found, masks, labels))


def test_images_may_differ_in_size():
    found = [np.ones((2, 3), bool), np.ones((4, 1), bool)]
    masks = [np.ones((2, 3), bool), np.zeros((4, 1), bool)]
    assert region_metrics(found, masks, [1, 0])["region_recall"] == 1.0


def test_memory_is_that_of_one_image(tmp_path):
    peaks = []
    for count in (4, 40):
        path = tmp_path / f"{count}.npy"
        np.save(path, np.random.default_rng(0).random((count, 64, 64)) < 0.1)
        found = np.load(path, mmap_mode="r")
        peaks.append(traced_peak(region_metrics, found, found, np.ones(count, bool)))
    assert peaks[1] - peaks[0] < 2 * 64 * 64


EMPTY = np.zeros((2, 3, 3), bool)


@pytest.mark.parametrize(
    ("found", "masks", "labels", "message"),
    [
        (EMPTY[:1], EMPTY, [1, 1], "found ended after 1 images"),
        (EMPTY, EMPTY[:1], [1, 1], "masks ended after 1 images"),
        (EMPTY, EMPTY, [1], "labels ended after 1 images"),
        (EMPTY[:0], EMPTY[:0], [1], "found and masks ended after 0 images"),
        (EMPTY.astype(np.uint8), EMPTY, [1, 1], r"found\[0\] has dtype uint8"),
        (EMPTY, EMPTY.astype(float), [1, 1], r"masks\[0\] has dtype float64"),
        (EMPTY[None], EMPTY, [1, 1], r"found\[0\] has dtype bool and shape \(2, 3, 3\); bool \[H, W\]"),
        (EMPTY[:, :0], EMPTY[:, :0], [1, 1], r"found\[0\] has dtype bool and shape \(0, 3\)"),
        (EMPTY[:, :2], EMPTY, [1, 1], r"found\[0\] has shape \(2, 3\) and masks\[0\] has shape \(3, 3\)"),
        (EMPTY, ~EMPTY, [1, 0], r"masks\[1\] marks pixels but labels\[1\] is 0"),
        (EMPTY, EMPTY, [1, 2], "labels holds 2"),
    ],
)
def test_what_does_not_belong_together_is_refused(found, masks, labels, message):
    with pytest.raises(InputError, match=message):
        region_metrics(found, masks, labels)
