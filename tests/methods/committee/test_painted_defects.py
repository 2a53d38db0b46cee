"""Painted defects: of all sizes, where the mask says, visible, repeatable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.methods.committee.painted_defects import KINDS, SMALLEST, VISIBLE, paint_defect


class Chosen:
    """A generator that chooses a given kind and draws the rest by chance."""

    def __init__(self, kind, seed):
        self.kind, self.rng = kind, np.random.default_rng(seed)

    def choice(self, values):
        return self.kind if values is KINDS else self.rng.choice(values)

    def __getattr__(self, name):
        return getattr(self.rng, name)


def texture(height, width):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, height, width), dtype=np.uint8)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(SMALLEST, 200), st.integers(SMALLEST, 200), st.integers(0, 2**32 - 1))
def test_only_the_defect_changes_whatever_kind_size_and_place(kind, height, width, seed):
    image = texture(height, width)
    before = image.copy()
    painted, mask = paint_defect(image, Chosen(kind, seed))
    assert painted.shape == image.shape and painted.dtype == np.uint8
    assert mask.shape == (height, width) and mask.dtype == bool
    np.testing.assert_array_equal(image, before)
    changed = (painted != image).any(0)
    rows, columns = np.nonzero(mask)
    assert mask.any() and mask.mean() < 0.25
    around = np.zeros_like(mask)  # the soft border of the defect lies beyond the mask
    around[max(rows.min() - 6, 0) : rows.max() + 7, max(columns.min() - 6, 0) : columns.max() + 7] = True
    assert not changed[~around].any()


@pytest.mark.parametrize("kind", KINDS)
def test_defects_can_be_seen(kind):
    """Of every kind, most defects change most of their pixels in a texture."""
    image = texture(96, 96)
    shares = []
    for seed in range(20):
        painted, mask = paint_defect(image, Chosen(kind, seed))
        shares.append((np.abs(painted.astype(int) - image).max(0) > 8)[mask].mean())
    assert np.median(shares) > 0.6


def test_a_defect_that_would_hardly_show_is_drawn_again():
    """On a part before an even background, a blur is painted on the part: elsewhere it would change nothing."""
    image = np.full((3, 96, 96), 120, np.uint8)
    image[:, 20:76, 20:76] = texture(56, 56)
    for seed in range(20):
        painted, mask = paint_defect(image, Chosen("blur", seed))
        assert np.abs(painted.astype(int) - image).mean(0)[mask].mean() >= VISIBLE


@pytest.mark.parametrize("kind", ["scratch", "tone"])
def test_what_shows_on_a_bright_background_is_judged_within_the_range_of_grey_levels(kind):
    """Brighter than white is white: such a defect would hardly show, and is drawn again."""
    image = np.full((3, 96, 96), 250, np.uint8)
    for seed in range(20):
        painted, mask = paint_defect(image, Chosen(kind, seed))
        assert np.abs(painted.astype(int) - image).mean(0)[mask].mean() >= VISIBLE


def test_an_even_image_gets_a_defect_all_the_same():
    painted, mask = paint_defect(np.full((3, 64, 64), 120, np.uint8), Chosen("blur", 0))
    assert mask.any() and (painted == 120).all()


def test_ellipses_are_small_and_large():
    areas = [paint_defect(texture(256, 256), Chosen("fill", seed))[1].sum() for seed in range(60)]
    assert min(areas) < 200 and max(areas) > 2000


def test_cracks_are_longer_than_scratches():
    reach = {}
    for kind in ("scratch", "crack"):
        masks = [paint_defect(texture(256, 256), Chosen(kind, seed))[1] for seed in range(30)]
        reach[kind] = np.median([np.ptp(np.argwhere(mask), axis=0).max() for mask in masks])
    assert reach["crack"] > 1.5 * reach["scratch"]


def test_the_same_seed_paints_the_same_defect():
    one, other, third = (paint_defect(texture(80, 80), np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert (one == other).all() and (one != third).any()
