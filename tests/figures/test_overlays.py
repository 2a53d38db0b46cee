"""Pictures of one image's result against pixel-by-pixel computations."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path

from discrepancy.figures import overlays

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def naive_boundary(mask):
    """A pixel of the mask with one of its four neighbours outside, or on the border of the image."""
    edge = np.zeros_like(mask)
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = all(0 <= v < height and 0 <= u < width and mask[v, u] for v, u in around)
            edge[y, x] = mask[y, x] and not inside
    return edge


def photograph(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, *shape), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_outline_colours_exactly_the_boundary(mask):
    image = photograph(mask.shape)
    before = image.copy()
    picture = overlays.outline(image, mask, colour="#FF0080")
    expected = image.transpose(1, 2, 0).copy()
    expected[naive_boundary(mask)] = (255, 0, 128)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)
    np.testing.assert_array_equal(image, before)  # the photograph itself is not drawn on


def test_a_thicker_outline_grows_to_both_sides():
    mask = np.zeros((15, 15), dtype=bool)
    mask[4:11, 4:11] = True
    black = np.zeros((3, 15, 15), dtype=np.uint8)
    drawn = overlays.outline(black, mask, colour="white", thickness=3)[..., 0] > 0
    assert drawn[7, 3] and drawn[7, 4] and drawn[7, 5]
    assert not drawn[7, 2] and not drawn[7, 6]


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_contours_filled_by_the_even_odd_rule_give_the_mask_back(mask):
    lines = overlays.contours(mask)
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    points = np.column_stack([xs.ravel(), ys.ravel()])
    inside = np.zeros(mask.size, dtype=bool)
    for line in lines:
        np.testing.assert_array_equal(line[0], line[-1])  # closed, also at the border of the image
        inside ^= Path(line).contains_points(points)
    np.testing.assert_array_equal(inside.reshape(mask.shape), mask)


def test_score_picture_clips_at_the_ends_of_the_scale():
    colours = matplotlib.colormaps["inferno"]
    picture = overlays.score_picture(np.array([[-9.0, 1.0, 2.0, 3.0, 99.0]], dtype=np.float32), scale=(1.0, 3.0))
    expected = [colours(share, bytes=True)[:3] for share in (0.0, 0.0, 0.5, 1.0, 1.0)]
    np.testing.assert_array_equal(picture[0], expected)
    assert picture.dtype == np.uint8


def test_a_narrow_scale_far_from_zero_keeps_its_colours():
    values = np.float32(1000) + np.array([[0.0, 0.5, 1.0]], dtype=np.float32) / 1024
    picture = overlays.score_picture(values, scale=(1000.0, 1000.0 + 1 / 1024))
    assert len({tuple(pixel) for pixel in picture[0]}) == 3


def test_binary_picture_is_black_and_white():
    picture = overlays.binary_picture(np.array([[True, False]]))
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[255, 0]]


def test_heat_picture_blends_by_score():
    image = photograph((1, 3))
    scores = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    picture = overlays.heat_picture(image, scores, scale=(0.0, 1.0), opacity=0.6)
    for x, weight in enumerate((0.0, 0.3, 0.6)):
        heat = overlays.score_picture(scores, scale=(0.0, 1.0))[0, x].astype(float)
        expected = (1 - weight) * image[:, 0, x] + weight * heat
        np.testing.assert_allclose(picture[0, x], expected, atol=0.51)


def test_truth_picture_is_grey_but_for_the_mask():
    image = photograph((6, 8))
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:5] = True
    picture = overlays.truth_picture(image, mask, colour="#FF0000").astype(int)
    grey = np.tensordot([0.299, 0.587, 0.114], image.astype(float), axes=1)  # luma of ITU-R BT.601
    np.testing.assert_allclose(picture[~mask], np.repeat(80 + 0.6 * grey[~mask][:, None], 3, axis=1), atol=1.01)
    assert (picture[mask][:, 0] > picture[mask][:, 1] + 100).all()
    assert (picture[mask][:, 1] == picture[mask][:, 2]).all()


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.uint8), np.zeros((3, 4, 4), np.float32)])
def test_to_picture_refuses_other_forms(image):
    with pytest.raises(ValueError, match=r"uint8 \[3, H, W\]"):
        overlays.to_picture(image)


class TestMapScale:
    def test_is_median_and_percentile_of_all_maps(self):
        maps = np.random.default_rng(0).gamma(2.0, size=(5, 40, 30)).astype(np.float32)
        low, high = overlays.map_scale(maps)
        ordered = np.sort(maps.ravel().astype(np.float64))
        assert low == pytest.approx(np.median(ordered))
        assert high == pytest.approx(np.interp(0.999 * (ordered.size - 1), np.arange(ordered.size), ordered), rel=1e-6)

    def test_of_large_maps_is_near_the_exact_one(self):
        rng = np.random.default_rng(1)
        maps = rng.normal(size=(12, 640, 256)).astype(np.float32)
        exact = np.percentile(maps, (50.0, 99.9))
        np.testing.assert_allclose(overlays.map_scale(maps), exact, atol=0.05)

    def test_puts_the_threshold_into_the_darker_half(self):
        maps = np.random.default_rng(2).uniform(size=(2, 20, 20)).astype(np.float32)
        plain = overlays.map_scale(maps)
        low, high = overlays.map_scale(maps, threshold=5.0)
        assert low == plain[0]
        assert (5.0 - low) / (high - low) == pytest.approx(0.5)
        assert overlays.map_scale(maps, threshold=0.6) == plain  # in the darker half already
        assert overlays.map_scale(maps, threshold=float("inf")) == plain

    @pytest.mark.parametrize("value", [0.0, 7.5, -3e8, 1e-30])
    def test_of_constant_maps_is_not_empty(self, value):
        low, high = overlays.map_scale(np.full((2, 4, 4), value, dtype=np.float32))
        assert low == np.float32(value) < high

    def test_of_one_bright_pixel_reaches_it(self):
        maps = np.zeros((1, 100, 100), dtype=np.float32)
        maps[0, 50, 50] = 4.0
        assert overlays.map_scale(maps) == (0.0, 4.0)

    @pytest.mark.parametrize("maps", [np.zeros((0, 4, 4)), np.full((1, 2, 2), np.nan), np.array([[[0.0, np.inf]]])])
    def test_refuses_what_has_no_scale(self, maps):
        with pytest.raises(ValueError, match="finite"):
            overlays.map_scale(maps)
